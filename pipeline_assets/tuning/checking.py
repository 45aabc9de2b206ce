"""What would make every trial of a study fail, found before the first one begins."""

from collections.abc import Iterator
from typing import Any

from pipeline_assets.shards.index import load_index
from pipeline_assets.shards.reader import ShardReader
from pipeline_assets.training.config import TrainingError, TrainingJob
from pipeline_assets.training.model import build_network
from pipeline_assets.training.preconditions import check_trainable
from pipeline_assets.tuning.errors import TuningError
from pipeline_assets.tuning.settings import with_settings
from pipeline_assets.tuning.space import Space


def check_study(job: TrainingJob, space: Space) -> None:
    """Verify the shards once for all trials, and build the model at both ends of every setting.

    Raises:
        ShardError: shards that are damaged.
        TrainingError: nothing to train with.
        TuningError: a setting that the model's factory refuses.
    """
    check_trainable(job, load_index(job.shards))
    for split in ("train", "validation"):
        ShardReader(job.shards, split, verify=True)
    for name, value in _ends(space):
        try:
            build_network(with_settings(job, {name: value}).model)
        except (TrainingError, RuntimeError, ValueError, TypeError) as error:
            raise TuningError(
                f"{name} cannot be {value!r}, which tuning.space allows: {error}"
            ) from None


def _ends(space: Space) -> Iterator[tuple[str, Any]]:
    for name, domain in space.items():
        if name.startswith("model."):
            for value in domain.values:
                yield name, value
