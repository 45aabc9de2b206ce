"""Whether the settings of a search exist and take the values that `tuning.space` gives them."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, get_args, get_origin

from pydantic import ValidationError

from pipeline_assets.option_types import described, fits
from pipeline_assets.spec.factory_options import declared_options
from pipeline_assets.spec.problems import Problem
from pipeline_assets.spec.suggestions import did_you_mean
from pipeline_assets.spec.training import ModelSettings, TrainingSettings
from pipeline_assets.spec.tuning import Domain
from pipeline_assets.spec.use_case import UseCase

TRAINING, OPTIONS = "training.", "model.options."
"""What a setting's name begins with."""
SEARCHABLE = (
    "learning_rate", "weight_decay", "warmup_share", "gradient_clip", "batch_size", "positive_weight",
    "loss", "precision", "patience",
)  # fmt: skip
"""Settings of `training` that decide what is learnt; the others decide how fast, and what happens in trouble."""
FIXED = {
    "max_epochs": "it is what a trial may cost at most",
    "monitor": "it is what trials are compared by",
}
"""Why some others cannot be searched."""


def search_space_problems(use_case: UseCase) -> Sequence[Problem]:
    """Return what is wrong with the search space, by setting; empty without `tuning`."""
    tuning = use_case.tuning
    if tuning is None:
        return []
    problems = [
        problem
        for name, domain in tuning.space.items()
        for problem in _setting_problems(use_case, name, domain)
    ]
    most = use_case.training.max_epochs
    if tuning.scheduler == "asha" and tuning.grace_epochs > most:
        message = f"{tuning.grace_epochs} epochs are more than training.max_epochs ({most})"
        problems.append(Problem(path=("tuning", "grace_epochs"), message=message))
    return problems


def _setting_problems(use_case: UseCase, name: str, domain: Domain) -> Iterator[Problem]:
    path = ("tuning", "space", name)
    if name.startswith(TRAINING):
        yield from _training_problems(use_case.training, name, domain, path)
    elif name.startswith(OPTIONS):
        yield from _option_problems(use_case.model, name, domain, path)
    else:
        yield Problem(
            path=path,
            message=f"{name!r} is no setting that can be searched",
            suggestion=f"settings are {TRAINING}… and {OPTIONS}…",
        )


def _training_problems(
    settings: TrainingSettings, name: str, domain: Domain, path: tuple[str, ...]
) -> Iterator[Problem]:
    field = name.removeprefix(TRAINING)
    if field not in TrainingSettings.model_fields:
        yield _unknown(path, name, [TRAINING + key for key in SEARCHABLE])
    elif field not in SEARCHABLE:
        reason = FIXED.get(field, "it does not decide what is learnt")
        yield Problem(path=path, message=f"{name} is not searched: {reason}")
    elif TrainingSettings.model_fields[field].annotation is int and _is_continuous(domain):
        yield Problem(path=path, message=f"{name} is a whole number: integer or choice")
    else:
        for value in domain.values:
            changed = {**settings.model_dump(), field: value}
            try:
                TrainingSettings.model_validate(changed)
            except ValidationError as error:
                for item in error.errors():
                    reason = item["msg"].removeprefix("Value error, ")
                    message = f"{name} cannot be {value!r}: {reason}"
                    yield Problem(path=path, message=message)
                    break


def _option_problems(
    model: ModelSettings, name: str, domain: Domain, path: tuple[str, ...]
) -> Iterator[Problem]:
    options = declared_options(model.factory)
    if options is None:
        # A factory with ways of its own: the study tries the ends of the space before its first trial.
        return
    option = name.removeprefix(OPTIONS)
    if option not in options:
        yield _unknown(path, name, [OPTIONS + key for key in options])
        return
    wanted = options[option]
    for value in domain.values:
        if _is_continuous(domain) and _is_whole(wanted):
            yield Problem(path=path, message=f"{name} is a whole number: integer or choice")
            return
        if not fits(value, wanted):
            message = f"{name} cannot be {value!r}: expected {described(wanted)}"
            yield Problem(path=path, message=message)


def _is_continuous(domain: Domain) -> bool:
    return domain.kind in ("uniform", "loguniform")


def _is_whole(wanted: Any) -> bool:
    return wanted is int or (get_origin(wanted) is Annotated and get_args(wanted)[0] is int)


def _unknown(path: tuple[str, ...], name: str, known: list[str]) -> Problem:
    return Problem(
        path=path,
        message=f"there is no setting {name!r}",
        suggestion=did_you_mean(name, known, what="known"),
    )
