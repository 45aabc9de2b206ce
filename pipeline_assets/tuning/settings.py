"""Settings by dotted name: `training.learning_rate`, `model.options.dropout`. How they are searched is in `space`."""

import dataclasses
import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from pipeline_assets.training.config import TrainingJob

_TRAINING, _OPTIONS = "training.", "model.options."


def with_settings(job: TrainingJob, settings: Mapping[str, Any]) -> TrainingJob:
    """The job with other settings.

    >>> with_settings(job, {"training.learning_rate": 0.01}).training.learning_rate  # doctest: +SKIP
    0.01

    Raises:
        ValueError: a name that is none of a setting.
    """
    training: dict[str, Any] = {}
    options: dict[str, Any] = {}
    for name, value in settings.items():
        if name.startswith(_TRAINING):
            training[name.removeprefix(_TRAINING)] = value
        elif name.startswith(_OPTIONS):
            options[name.removeprefix(_OPTIONS)] = value
        else:
            raise ValueError(f"{name!r} is no setting: {_TRAINING}… or {_OPTIONS}…")
    return dataclasses.replace(
        job,
        training=dataclasses.replace(job.training, **training),
        model=dataclasses.replace(job.model, options={**job.model.options, **options}),
    )


def declared_settings(
    job: TrainingJob, names: Iterable[str], defaults: Mapping[str, Any]
) -> dict[str, Any]:
    """The values that a job has for these settings.

    Args:
        job: the training.
        names: of settings.
        defaults: of the factory's options; an option that neither is declared nor has one is left out.
    """
    found: dict[str, Any] = {}
    options = {**defaults, **job.model.options}
    for name in names:
        if name.startswith(_TRAINING):
            found[name] = getattr(job.training, name.removeprefix(_TRAINING))
        elif name.removeprefix(_OPTIONS) in options:
            found[name] = options[name.removeprefix(_OPTIONS)]
    return found


def decoded(parameters: Mapping[str, Any], choices: Collection[str]) -> dict[str, Any]:
    """The settings that Optuna's parameters stand for; values of choices are JSON texts there."""
    return {
        name: json.loads(value) if name in choices else value for name, value in parameters.items()
    }
