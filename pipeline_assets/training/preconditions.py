"""What must hold before the first batch, and what follows from the shards alone."""

from pipeline_assets.shards.index import ShardIndex
from pipeline_assets.training.config import TrainingError, TrainingJob
from pipeline_assets.training.parallelize import check_parallelism
from pipeline_assets.training.tasks import check_task


def check_trainable(job: TrainingJob, index: ShardIndex) -> None:
    """Raise `TrainingError` where this training would fail, or mean nothing, later."""
    check_task(job.model, job.training)
    check_parallelism(job.training)
    preprocessor = job.model.preprocessor
    for kind, configured, held in (
        ("numeric", tuple(f.name for f in preprocessor.numeric), index.numeric),
        ("categorical", tuple(f.name for f in preprocessor.categorical), index.categorical),
    ):
        if configured != held:
            raise TrainingError(
                f"the preprocessor knows the {kind} features {list(configured)}, the shards hold "
                f"{list(held)}: statistics and shards come from different features"
            )
    for split in ("train", "validation"):
        rows, positives = index.split_rows[split], index.positives(split)
        if rows == 0:
            raise TrainingError(f"the {split} split has no rows; nothing to train with")
        if job.model.task == "binary" and positives in (0, rows):
            only = "negative" if positives == 0 else "positive"
            raise TrainingError(
                f"all {rows:,} rows of the {split} split are {only}: there is nothing to tell apart. "
                "Check `features.label` (column and positive value), or enlarge the split"
            )


def positive_weight(job: TrainingJob, index: ShardIndex) -> float:
    """Resolve the setting: `balanced` is negatives / positives of the training rows."""
    setting = job.training.positive_weight
    if setting == "none":
        return 1.0
    if setting == "balanced":
        positives = index.positives("train")
        return (index.split_rows["train"] - positives) / positives
    return float(setting)
