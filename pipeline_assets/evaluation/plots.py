"""The report's plots as PNG bytes. Drawn on `Figure` objects: no display, no pyplot, no global state."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline_assets.evaluation.daily_plots import daily_plots
from pipeline_assets.evaluation.metrics import TITLES
from pipeline_assets.evaluation.plot_style import (
    BAD_COLOR,
    GRID_COLOR,
    MODEL_COLOR,
    TEXT_COLOR,
    new_figure,
    png_of,
    styles,
)
from pipeline_assets.evaluation.result import Evaluation, Predictor

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def evaluation_plots(evaluation: Evaluation) -> dict[str, bytes]:
    """Every plot that has something to show, by name: `roc`, `precision_recall`, `calibration`, `lift`,
    `confusion`, `slices`, `importance`, and `daily_<metric>` of business metrics that have
    days. Equal evaluations give equal bytes (on one matplotlib version).
    """
    made = {
        "roc": _roc(evaluation),
        "precision_recall": _precision_recall(evaluation),
        "calibration": _calibration(evaluation),
        "lift": _lift(evaluation),
        "confusion": _confusion(evaluation),
        "slices": _slices(evaluation),
        "importance": _importance(evaluation),
    }
    drawn = {name: figure for name, figure in made.items() if figure is not None}
    return {name: png_of(figure) for name, figure in (drawn | daily_plots(evaluation)).items()}


def _roc(evaluation: Evaluation) -> Figure | None:
    if not evaluation.model.curves.false_positive_rate:
        return None
    figure, axes = new_figure("ROC curve", "False positive rate", "True positive rate (recall)")
    axes.plot([0, 1], [0, 1], color=GRID_COLOR, linewidth=1.2, zorder=1)
    for predictor, color, width in styles(evaluation):
        curve = predictor.curves
        axes.plot(
            curve.false_positive_rate,
            curve.true_positive_rate,
            color=color,
            linewidth=width,
            label=_with_value(predictor, "roc_auc"),
        )
    cells = evaluation.model.confusion
    negatives = cells.false_positive + cells.true_negative
    positives = cells.true_positive + cells.false_negative
    axes.plot(
        cells.false_positive / negatives,
        cells.true_positive / positives,
        "o",
        color=MODEL_COLOR,
        markersize=7,
        label=f"Model at threshold {evaluation.model.threshold:.3f}",
    )
    _square(axes)
    axes.legend(loc="lower right", frameon=False, fontsize=8.5, title="ROC AUC", title_fontsize=8.5)
    return figure


def _precision_recall(evaluation: Evaluation) -> Figure | None:
    if not evaluation.model.curves.recall:
        return None
    figure, axes = new_figure("Precision and recall", "Recall", "Precision")
    rate = evaluation.splits["test"].label_rate or 0.0
    axes.axhline(rate, color=GRID_COLOR, linewidth=1.2, zorder=1)
    axes.text(0.01, rate + 0.012, f"label rate {rate:.3f}", fontsize=8, color="#5b6673")
    for predictor, color, width in styles(evaluation):
        if predictor.name == "majority":
            continue
        axes.plot(
            predictor.curves.recall,
            predictor.curves.precision,
            color=color,
            linewidth=width,
            label=_with_value(predictor, "average_precision"),
        )
    recall = evaluation.model.metrics["recall"].value
    precision = evaluation.model.metrics["precision"].value
    if recall is not None and precision is not None:
        axes.plot(
            recall,
            precision,
            "o",
            color=MODEL_COLOR,
            markersize=7,
            label=f"Model at threshold {evaluation.model.threshold:.3f}",
        )
    _square(axes)
    axes.legend(
        loc="best",
        frameon=False,
        fontsize=8.5,
        title="Average precision",
        title_fontsize=8.5,
    )
    return figure


def _calibration(evaluation: Evaluation) -> Figure:
    figure, axes = new_figure(
        "Calibration (10 groups of equally many rows)",
        "Mean predicted probability",
        "Observed label rate",
    )
    top = 0.05
    axes.plot(
        [0, 1], [0, 1], color="#9aa5b1", linewidth=1.2, linestyle="--", zorder=1, label="Perfect"
    )
    for predictor, color, width in styles(evaluation):
        curve = predictor.curves
        top = max(top, *curve.predicted, *curve.observed)
        axes.plot(
            curve.predicted,
            curve.observed,
            "o-",
            color=color,
            linewidth=width,
            markersize=4.5,
            label=_with_value(predictor, "ece"),
        )
    limit = min(1.0, top * 1.06)
    axes.set_xlim(0, limit)
    axes.set_ylim(0, limit)
    axes.legend(
        loc="upper left",
        frameon=False,
        fontsize=8.5,
        title="Expected calibration error",
        title_fontsize=8.5,
    )
    return figure


def _lift(evaluation: Evaluation) -> Figure | None:
    if not evaluation.model.curves.lift:
        return None
    figure, axes = new_figure(
        "Lift",
        "Share of rows targeted, highest probability first (%)",
        "Lift (label rate over that of all)",
    )
    axes.axhline(1, color="#9aa5b1", linewidth=1.2, linestyle="--", zorder=1)
    for predictor, color, width in styles(evaluation):
        # The first percent rests on few rows: its jumps would set the scale.
        points = [
            (100 * share, lift)
            for share, lift in zip(predictor.curves.targeted, predictor.curves.lift)
            if share >= 0.01
        ]
        axes.plot(*zip(*points), color=color, linewidth=width, label=predictor.title)
    axes.set_xlim(0, 100)
    axes.set_ylim(bottom=0)
    axes.legend(loc="upper right", frameon=False, fontsize=8.5)
    return figure


def _confusion(evaluation: Evaluation) -> Figure:
    cells = evaluation.model.confusion
    table = [
        [cells.true_negative, cells.false_positive],
        [cells.false_negative, cells.true_positive],
    ]
    figure, axes = new_figure(
        f"Confusion at threshold {evaluation.model.threshold:.3f}",
        "Predicted",
        "Actual",
        size=(4.6, 3.9),
    )
    shares = [[cell / max(sum(row), 1) for cell in row] for row in table]
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for row in range(2):
        for column in range(2):
            axes.text(
                column,
                row,
                f"{table[row][column]:,} rows\n{shares[row][column]:.1%} of the row",
                ha="center",
                va="center",
                fontsize=10,
                color="white" if shares[row][column] > 0.55 else TEXT_COLOR,
            )
    axes.set_xticks([0, 1], ["negative", "positive"])
    axes.set_yticks([0, 1], ["negative", "positive"])
    axes.grid(False)
    axes.tick_params(length=0)
    return figure


def _slices(evaluation: Evaluation) -> Figure | None:
    metric = evaluation.slice_metric
    shown = [group for group in evaluation.slices if group.metrics[metric].value is not None]
    if not shown:
        return None
    overall = evaluation.model.metrics[metric]
    figure, axes = new_figure(
        f"{TITLES[metric]} by slice, with {evaluation.confidence:.0%} intervals",
        TITLES[metric],
        "",
        size=(7.0, 1.3 + 0.32 * len(shown)),
    )
    if overall.value is not None:
        axes.axvline(
            overall.value, color="#9aa5b1", linewidth=1.2, linestyle="--", label="all test rows"
        )
    for line, group in enumerate(shown):
        estimate = group.metrics[metric]
        color = (
            BAD_COLOR
            if group == evaluation.worst_slice
            else MODEL_COLOR
            if group.judged
            else "#9aa5b1"
        )
        if estimate.low is not None and estimate.high is not None:
            axes.plot([estimate.low, estimate.high], [line, line], color=color, linewidth=2)
        axes.scatter([estimate.value or 0.0], [line], color=color, s=36, zorder=3)
    axes.set_yticks(
        range(len(shown)),
        [f"{group.title}  ({group.rows:,} rows)" for group in shown],
        fontsize=8.5,
    )
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.legend(loc="best", frameon=False, fontsize=8.5)
    return figure


def _importance(evaluation: Evaluation) -> Figure | None:
    shown = evaluation.importance[:20]
    if not shown:
        return None
    figure, axes = new_figure(
        "Permutation importance",
        "ROC AUC lost when the feature is shuffled (line: standard deviation)",
        "",
        size=(7.0, 1.3 + 0.3 * len(shown)),
    )
    axes.barh(
        range(len(shown)),
        [item.mean for item in shown],
        xerr=[item.std for item in shown],
        color=MODEL_COLOR,
        height=0.66,
        error_kw={"ecolor": TEXT_COLOR, "elinewidth": 1.2},
    )
    axes.set_yticks(range(len(shown)), [item.feature for item in shown], fontsize=8.5)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.grid(False, axis="y")
    return figure


def _with_value(predictor: Predictor, metric: str) -> str:
    value = predictor.metrics[metric].value
    return predictor.title if value is None else f"{predictor.title} {value:.4f}"


def _square(axes: Axes) -> None:
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(-0.01, 1.01)
