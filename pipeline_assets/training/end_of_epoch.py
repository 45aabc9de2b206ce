"""What must hold of an epoch before its state is worth keeping, and what is kept of it."""

import math
from collections.abc import Mapping
from typing import Any

from pipeline_assets.shards.reader import ShardReader
from pipeline_assets.training.checkpoint import TrainingState
from pipeline_assets.training.config import TrainingError


def check_coverage(epoch: int, state: TrainingState, train: ShardReader) -> None:
    """Raise `TrainingError` where an epoch (from 1) has not seen each training row once."""
    rows, total = state.epoch_rows, state.epoch_row_id_sum
    if (rows, total) != (train.rows, train.row_id_sum):
        raise TrainingError(
            f"epoch {epoch} saw {rows:,} rows (row_id sum {total}), the shards hold "
            f"{train.rows:,} (sum {train.row_id_sum}): rows were dropped or repeated"
        )


def epoch_entry(
    epoch: int,
    state: TrainingState,
    rows: int,
    scores: Mapping[str, float],
    validation_seconds: float,
) -> dict[str, Any]:
    """What the history says of an epoch (from 1).

    Args:
        epoch: that is done.
        state: with its sums.
        rows: of the training split.
        scores: of the validation.
        validation_seconds: that it took.

    Raises:
        TrainingError: the mean loss or a score is no finite number.
    """
    train_loss = math.fsum(state.epoch_losses) / rows
    _check_finite(epoch, train_loss, scores)
    return {
        "epoch": epoch,
        "train_loss": train_loss,
        **{f"validation_{name}": score for name, score in scores.items()},
        "rows_per_second": rows / state.epoch_seconds,
        "seconds": state.epoch_seconds + validation_seconds,
        "checkpoint_share": state.checkpoint_seconds / state.epoch_seconds,
    }


def _check_finite(epoch: int, train_loss: float, scores: Mapping[str, float]) -> None:
    if not math.isfinite(train_loss):
        raise TrainingError(
            f"the training loss of epoch {epoch} is {train_loss}, and the gradients did not show it: "
            "the network or its backward pass replaces values that are not finite. Let it pass them on, so "
            "that batch and rows can be named"
        )
    undefined = [name for name, score in scores.items() if not math.isfinite(score)]
    if undefined:
        raise TrainingError(
            f"validation {', '.join(undefined)} of epoch {epoch} is not a finite number, so no epoch is "
            "better than another: predictions have overflowed, or a label has one class only. Look for "
            "extreme values in the validation rows"
        )
