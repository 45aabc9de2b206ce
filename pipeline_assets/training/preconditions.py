"""What must hold before the first batch, and what follows from the shards alone."""

from collections.abc import Callable

from torch import nn

from pipeline_assets.shards.index import ShardIndex
from pipeline_assets.shards.reader import ShardReader
from pipeline_assets.training.config import TrainingConfig, TrainingError, TrainingJob
from pipeline_assets.training.parallelize import check_parallelism
from pipeline_assets.training.tasks import check_task, positive_rows

_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
_DROPOUTS = (
    nn.Dropout,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.Dropout3d,
    nn.AlphaDropout,
    nn.FeatureAlphaDropout,
)


_FEW_ROWS = 16


def micro_batch_notes(config: TrainingConfig, world_size: int) -> list[str]:
    """Return a note where micro-batches are so small that a step is mostly overhead."""
    rows = config.batch_size / world_size / config.gradient_accumulation
    if config.gradient_accumulation == 1 or rows >= _FEW_ROWS:
        return []
    return [
        f"training.gradient_accumulation {config.gradient_accumulation} leaves micro-batches of {rows:.3g} rows on "
        f"each of {world_size} ranks: training will be slow; lower it, or raise training.batch_size"
    ]


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


def check_network(network: nn.Module) -> list[str]:
    """Return notes on layers that make the model depend on the number of ranks.

    Raises:
        TrainingError: batch norm, whose statistics would do so, too.
    """
    notes = []
    for name, module in network.named_modules():
        layer = f"the network's layer {name or 'itself'} is nn.{type(module).__name__}"
        if isinstance(module, _BATCH_NORMS):
            raise TrainingError(
                f"{layer}: its statistics would be of the rows of one rank and, with gradient_accumulation, of "
                "one micro-batch, so the model would depend on the number of ranks. Use nn.LayerNorm, as "
                "pipeline_assets.training.models.resnet does"
            )
        if isinstance(module, _DROPOUTS) and module.p > 0:
            notes.append(
                f"{layer}: what it drops depends on the number of ranks, and so will the model; "
                "pipeline_assets.training.models.layers.RowDropout does not"
            )
    return notes


def positive_weight(
    job: TrainingJob, train: ShardReader, *, on_block: Callable[[], None] = lambda: None
) -> float | list[float]:
    """Resolve the setting: `balanced` is negatives / positives of the training rows, of each label if many.

    Raises:
        TrainingError: all training rows of a label are the same.
    """
    setting = job.training.positive_weight
    many = job.model.task == "multilabel"
    if setting == "none":
        return 1.0
    if setting != "balanced":
        return [float(setting)] * job.model.classes if many else float(setting)
    if not many:
        positives = train.index.positives("train")
        return (train.rows - positives) / positives
    by_label = positive_rows(job.model, train, on_block=on_block).tolist()
    for label, positives in enumerate(by_label):
        if positives in (0, train.rows):
            only = "negative" if positives == 0 else "positive"
            raise TrainingError(
                f"all {train.rows:,} training rows are {only} for label {label} (from 0), so it has no balance: "
                "leave the label out, or give training.positive_weight as a number or none"
            )
    return [(train.rows - positives) / positives for positives in by_label]
