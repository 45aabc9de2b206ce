"""Pictures of a training. matplotlib is imported only when one is drawn."""

import io
from collections.abc import Sequence
from typing import Any


def training_curves(epochs: Sequence[dict[str, Any]]) -> bytes:
    """Draw losses and validation scores by epoch, the kept epoch marked; PNG bytes.

    Args:
        epochs: `history.json`'s entries `epochs`.
    """
    from matplotlib.figure import Figure

    at = [entry["epoch"] for entry in epochs]
    best = next(entry["epoch"] for entry in epochs if entry["best"])
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    losses, scores = figure.subplots(1, 2)
    losses.plot(at, [entry["train_loss"] for entry in epochs], label="training loss")
    losses.plot(at, [entry["validation_log_loss"] for entry in epochs], label="validation log loss")
    scores.plot(at, [entry["validation_roc_auc"] for entry in epochs], label="validation ROC AUC")
    scores.plot(
        at,
        [entry["validation_average_precision"] for entry in epochs],
        label="validation average precision",
    )
    for axes in (losses, scores):
        axes.axvline(best, color="grey", linestyle=":", label=f"kept: epoch {best}")
        axes.set_xlabel("epoch")
        axes.legend(frameon=False, fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    buffer = io.BytesIO()
    # No date, no version: the same history gives the same bytes.
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return buffer.getvalue()
