"""What the kinds of labels allow: losses, validation scores, values of the label. NumPy only."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from pipeline_assets.shards.mapped import Rows
from pipeline_assets.shards.reader import ShardReader
from pipeline_assets.training.config import (
    Loss,
    ModelConfig,
    Monitor,
    Task,
    TrainingConfig,
    TrainingError,
)

LOSSES: dict[Task, tuple[Loss, ...]] = {
    "binary": ("binary_cross_entropy", "focal"),
    "multiclass": ("cross_entropy", "focal"),
    "multilabel": ("binary_cross_entropy", "focal"),
    "regression": ("mse", "huber"),
}
"""Losses of a task; the first is the one that `auto` stands for. Quantiles have `quantile` alone."""
MONITORS: dict[Task, tuple[Monitor, ...]] = {
    "binary": ("roc_auc", "average_precision", "log_loss"),
    "multiclass": ("log_loss", "accuracy"),
    "multilabel": ("roc_auc", "average_precision", "log_loss"),
    "regression": ("rmse", "mae"),
}
"""Validation scores of a task. Quantiles have `pinball` alone."""
_BLOCK_ROWS = 1 << 20


@dataclass(frozen=True, kw_only=True)
class TargetScale:
    """Mean and standard deviation of a regression's training labels: networks work in its units."""

    mean: float = 0.0
    std: float = 1.0


UNSCALED = TargetScale()
"""Of labels that are no numbers to predict."""


def losses_of(model: ModelConfig) -> tuple[Loss, ...]:
    """Losses that fit the label; the first is the default."""
    return ("quantile",) if model.quantiles else LOSSES[model.task]


def monitors_of(model: ModelConfig) -> tuple[Monitor, ...]:
    """Validation scores that fit the label."""
    return ("pinball",) if model.quantiles else MONITORS[model.task]


def check_task(model: ModelConfig, training: TrainingConfig) -> None:
    """Raise `TrainingError` where task, loss, monitor and class weight do not fit each other."""
    if model.task not in LOSSES:
        raise TrainingError(f"model.task {model.task!r} is unknown; known: {', '.join(LOSSES)}")
    fewest = {"multiclass": 2, "multilabel": 1}.get(model.task)
    if fewest is not None and model.classes < fewest:
        raise TrainingError(
            f"model.classes is {model.classes}; a {model.task} label has at least {fewest}"
        )
    if model.quantiles:
        if model.task != "regression":
            raise TrainingError(f"model.quantiles are for a regression, not a {model.task} label")
        steps = np.diff([0.0, *model.quantiles, 1.0])
        if not (steps > 0).all():
            raise TrainingError(
                f"model.quantiles {list(model.quantiles)} must ascend, between 0 and 1"
            )
    label = f"{model.task} label" + (" with quantiles" if model.quantiles else "")
    for key, given, fitting in (
        ("loss", training.loss, ("auto", *losses_of(model))),
        ("monitor", training.monitor, monitors_of(model)),
    ):
        if given not in fitting:
            raise TrainingError(
                f"training.{key} {given!r} does not fit a {label}; fitting: {', '.join(fitting)}"
            )
    weighs = model.task in ("binary", "multilabel") and training.loss != "focal"
    if training.positive_weight != "none" and not weighs:
        raise TrainingError(
            f"training.positive_weight is {training.positive_weight!r}; it weighs the positive rows of a "
            "binary label, or of each label of a multilabel one, in cross-entropy. For focal loss see its "
            "option alpha; otherwise set it to none"
        )


def check_labels(
    model: ModelConfig, reader: ShardReader, *, on_block: Callable[[], None] = lambda: None
) -> None:
    """Raise `TrainingError` where a split's labels are no classes of a multi-class or multi-label task.

    Reads them all. Those of a binary task are known from the index, those of a regression may be any.
    """
    highest = {"multiclass": model.classes - 1, "multilabel": 1}.get(model.task)
    if highest is None:
        return
    shape = (model.classes,) if model.task == "multilabel" else ()
    present = np.zeros(model.classes, dtype=bool)
    for block in _blocks(reader, on_block):
        label = block.label
        if label.shape[1:] != shape:
            raise TrainingError(
                f"a row of the {reader.split} split has a label of shape {list(label.shape[1:])}, "
                f"a {model.task} task with {model.classes} classes needs {list(shape)}"
            )
        wrong = (label != np.floor(label)) | (label < 0) | (label > highest)
        if wrong.any():
            at = int(np.flatnonzero(wrong.reshape(len(wrong), -1).any(axis=1))[0])
            raise TrainingError(
                f"label {label[at].tolist()} of row_id {block.row_id[at]} of the {reader.split} split "
                f"is no integer from 0 to {highest}, as a {model.task} label is"
            )
        if model.task == "multiclass":
            present[np.unique(label).astype(np.int64)] = True
    if model.task == "multiclass" and present.sum() < 2:
        raise TrainingError(
            f"all rows of the {reader.split} split are of class {int(np.flatnonzero(present)[0])}: "
            "there is nothing to tell apart"
        )


def target_scale(
    model: ModelConfig, reader: ShardReader, *, on_block: Callable[[], None] = lambda: None
) -> TargetScale:
    """Mean and standard deviation of the labels where the task is a regression; reads them all.

    Raises:
        TrainingError: a regression's labels are all the same.
    """
    if model.task != "regression":
        return UNSCALED
    mean = reader.index.positives(reader.split) / reader.rows
    squares = sum(
        float(np.square(block.label.astype(np.float64) - mean).sum())
        for block in _blocks(reader, on_block)
    )
    std = float(np.sqrt(squares / reader.rows))
    if std <= 1e-6 * abs(mean):
        raise TrainingError(
            f"all labels of the {reader.split} split are {mean:g}: there is nothing to predict"
        )
    return TargetScale(mean=mean, std=std)


def positive_rows(
    model: ModelConfig, reader: ShardReader, *, on_block: Callable[[], None] = lambda: None
) -> np.ndarray:
    """Rows of a split in which each label of a multi-label task is 1, int64 [labels]; reads them all."""
    positives = np.zeros(model.classes, dtype=np.int64)
    for block in _blocks(reader, on_block):
        positives += np.count_nonzero(block.label, axis=0)
    return positives


def _blocks(reader: ShardReader, on_block: Callable[[], None]) -> Iterator[Rows]:
    for block in reader.iter_blocks(_BLOCK_ROWS):
        yield block
        on_block()
