"""Statistics as PNG bytes. Drawn on `Figure` objects: no display, no pyplot, no state left."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING, Literal

import numpy as np

from pipeline_assets.statistics.model import (
    CategoricalStatistics,
    FeatureStatistics,
    NumericStatistics,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_NEGATIVE, _POSITIVE, _NEUTRAL = "#8fa3b8", "#d1495b", "#4c6a86"
_COLUMNS = 3
_WIDTH = 8.5
"""Most inches of a figure, at 110 pixels each: a wider one is cut off in Dagster's dialogs."""
_MOST_PANELS = 40
_MOST_BARS = 12
_MOST_CORRELATED = 40


def statistics_plots(statistics: FeatureStatistics) -> dict[str, bytes]:
    """Return {name: PNG bytes}: `histograms`, `missing`, and with two numbers `correlation`.

    Histograms show at most 40 features, those that separate the classes best, and correlations the
    first 40 numeric features; titles say so where some are left out.
    """
    plots = {"histograms": _histograms(statistics), "missing": _missing(statistics)}
    if len(statistics.numeric) > 1:
        plots["correlation"] = _correlation(statistics)
    return plots


def _histograms(statistics: FeatureStatistics) -> bytes:
    items: list[NumericStatistics | CategoricalStatistics]
    items = [*statistics.numeric, *statistics.categorical]
    auc = statistics.single_feature_auc
    shown = items
    if len(items) > _MOST_PANELS:
        best = sorted(items, key=lambda item: -auc[item.name])[:_MOST_PANELS]
        shown = [item for item in items if item in best]
    lines = math.ceil(len(shown) / _COLUMNS)
    height = 2.1 * lines + 0.8
    # Fixed margins: the constrained layout measures every text several times, seconds for 26 panels.
    figure = _figure(_WIDTH, height, layout=None)
    figure.subplots_adjust(
        left=0.02, right=0.99, top=1 - 0.75 / height, bottom=0.6 / height, hspace=0.85, wspace=0.12
    )
    for position, item in enumerate(shown, start=1):
        axes = figure.add_subplot(lines, _COLUMNS, position)
        if isinstance(item, NumericStatistics):
            _numeric_panel(axes, item)
        else:
            _categorical_panel(axes, item)
        axes.set_title(f"{_short(item.name, 26)}  (AUC {auc[item.name]:.2f})", fontsize=8)
        axes.tick_params(labelsize=6.5)
        axes.set_yticks([])
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
    left_out = f", {len(shown)} of {len(items)} features" if len(shown) < len(items) else ""
    rate = statistics.label_rate["train"]
    figure.suptitle(
        f"Training rows: {statistics.rows['train']:,}, {rate:.1%} positive (red){left_out}",
        fontsize=10,
    )
    return _png(figure)


def _numeric_panel(axes: Axes, item: NumericStatistics) -> None:
    edges, counts = np.array(item.histogram.edges), np.array(item.histogram.counts)
    positives = np.array(item.histogram.positives)
    if not len(counts):
        axes.text(0.5, 0.5, "no values", ha="center", transform=axes.transAxes, fontsize=8)
        axes.set_xticks([])
        return
    axes.stairs(counts, edges, fill=True, color=_NEGATIVE)
    axes.stairs(positives, edges, fill=True, color=_POSITIVE)
    if item.distinct <= 12:
        axes.set_xticks(item.distribution.values)
    else:
        axes.locator_params(axis="x", nbins=6)
    axes.xaxis.set_major_formatter(lambda value, _: _number(value))


def _categorical_panel(axes: Axes, item: CategoricalStatistics) -> None:
    if not item.top:
        axes.text(0.5, 0.5, "no values", ha="center", transform=axes.transAxes, fontsize=8)
        axes.set_xticks([])
        return
    top = item.top[:_MOST_BARS]
    rows = np.array([category.rows for category in top], dtype=np.float64)
    positives = rows * item.label_rates[:_MOST_BARS]
    labels = [_short(category.value, 14) or "(empty)" for category in top]
    others = item.count - rows.sum()
    places = np.arange(len(top))
    axes.bar(places, rows - positives, bottom=positives, color=_NEGATIVE)
    axes.bar(places, positives, color=_POSITIVE)
    if others > 0:
        axes.bar([len(top)], [others], color="#d9dee4")
        labels.append("others")
    turned = sum(map(len, labels)) > 24
    axes.set_xticks(
        np.arange(len(labels)),
        labels,
        rotation=35 if turned else 0,
        ha="right" if turned else "center",
    )


def _missing(statistics: FeatureStatistics) -> bytes:
    items = [*statistics.numeric, *statistics.categorical]
    rows = max(statistics.rows["train"], 1)
    found = [(item.name, item.missing / rows) for item in items if item.missing]
    found = sorted(found, key=lambda pair: (pair[1], pair[0]))[-_MOST_PANELS:]
    figure = _figure(7, max(1.6, 0.26 * len(found) + 1.0))
    axes = figure.add_subplot()
    complete = len(items) - sum(1 for item in items if item.missing)
    axes.set_title(f"Missing values; {complete} of {len(items)} features are complete", fontsize=10)
    if not found:
        axes.text(0.5, 0.5, "nothing is missing", ha="center", transform=axes.transAxes)
        axes.set_axis_off()
        return _png(figure)
    bars = axes.barh(
        [_short(name, 32) for name, _ in found], [share for _, share in found], color=_NEUTRAL
    )
    axes.bar_label(bars, [f"{share:.1%}" for _, share in found], padding=3, fontsize=7)
    axes.set_xlim(0, min(1.0, 1.2 * found[-1][1]))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.tick_params(labelsize=7)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return _png(figure)


def _correlation(statistics: FeatureStatistics) -> bytes:
    names = [_short(item.name, 22) for item in statistics.numeric][:_MOST_CORRELATED]
    size = len(names)
    # Beside each other, or one below the other where that is too wide.
    cell = min(0.3, (_WIDTH - 2.8) / size)
    columns = 2 if 2 * (cell * size + 1.8) + 1.0 <= _WIDTH else 1
    width, height = columns * (cell * size + 1.8) + 1.0, cell * size + 2.6
    figure = _figure(width, height * (3 - columns))
    for position, (method, matrix) in enumerate(
        (("Pearson", statistics.pearson), ("Spearman", statistics.spearman)), start=1
    ):
        values = np.array([row[:size] for row in matrix[:size]], dtype=np.float64)
        axes = figure.add_subplot(3 - columns, columns, position)
        image = axes.imshow(values, cmap="RdBu_r", vmin=-1, vmax=1)
        axes.set_xticks(range(size), names, rotation=90, fontsize=7)
        axes.set_yticks(
            range(size), names if position == 1 or columns == 1 else [""] * size, fontsize=7
        )
        left_out = f", first {size}" if size < len(statistics.numeric) else ""
        axes.set_title(f"{method} correlation{left_out}", fontsize=10)
        if position == columns or columns == 1:
            figure.colorbar(image, ax=axes, fraction=0.05)
        if size <= 12:
            for row, column in np.argwhere(~np.isnan(values)):
                value = values[row, column]
                color = "white" if abs(value) > 0.6 else "black"
                text = f"{value:.2f}".replace("0.", ".")
                axes.text(column, row, text, ha="center", va="center", fontsize=6, color=color)
    return _png(figure)


def _figure(
    width: float, height: float, layout: Literal["constrained"] | None = "constrained"
) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=110, layout=layout)


def _png(figure: Figure) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    buffer = io.BytesIO()
    # No software version in the file: the same statistics give the same bytes.
    FigureCanvasAgg(figure).print_png(buffer, metadata={"Software": None})
    return buffer.getvalue()


def _number(value: float) -> str:
    for least, unit, name in ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if abs(value) >= least:
            return f"{value / unit:.3g}{name}"
    return f"{value:.4g}"


def _short(text: str, length: int) -> str:
    # Dollar signs would be read as formulas.
    shown = text if len(text) <= length else text[: length - 1] + "…"
    return shown.replace("$", r"\$")
