"""Pictures of a training. matplotlib is imported only when one is drawn."""

import io
from collections.abc import Mapping, Sequence
from typing import Any


def training_curves(epochs: Sequence[dict[str, Any]]) -> bytes:
    """Draw losses and validation scores by epoch, the kept epoch marked; PNG bytes.

    Args:
        epochs: `history.json`'s entries `epochs`.
    """
    from matplotlib.figure import Figure

    at = [entry["epoch"] for entry in epochs]
    best = next(entry["epoch"] for entry in epochs if entry["best"])
    figure = Figure(figsize=(8.5, 3.2), layout="constrained")
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
    return _png(figure)


def profile_bars(by_rank: Sequence[Mapping[str, float]]) -> bytes:
    """Draw where the time of each rank went, as one bar with a piece for each part; PNG bytes.

    Args:
        by_rank: `profile.json`'s `shares_by_rank`: part to share of the rank's time.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    ranks = [f"rank {rank}" for rank in range(len(by_rank))]
    means = {part: sum(own[part] for own in by_rank) / len(by_rank) for part in by_rank[0]}
    figure = Figure(figsize=(7.5, 1.5 + 0.35 * len(ranks)), layout="constrained")
    axes = figure.subplots()
    begin = [0.0] * len(ranks)
    # The largest first; a part has the same colour in every picture.
    for part in sorted(means, key=lambda part: -means[part]):
        widths = [100 * own[part] for own in by_rank]
        color = colormaps["tab10"](sorted(means).index(part))
        label = f"{part} {means[part]:.1%}"
        axes.barh(ranks, widths, left=begin, height=0.65, color=color, label=label)
        begin = [at + width for at, width in zip(begin, widths)]
    axes.set_xlim(0, 100)
    axes.set_xlabel("share of time, %")
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=5, frameon=False, fontsize=8)
    return _png(figure)


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    # No date, no version: the same numbers give the same bytes.
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return buffer.getvalue()
