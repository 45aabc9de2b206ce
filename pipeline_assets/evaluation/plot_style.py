"""How the plots of reports look: size, colours, fonts. What they show is in `plots` and its neighbours.

Drawn on `Figure` objects: no display, no pyplot, no global state.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline_assets.evaluation.result import Evaluation, Predictor

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MODEL_COLOR = "#0b5394"
OTHER_COLORS = ("#d1731f", "#3a8a5c", "#7a5195", "#8c8c8c")
TEXT_COLOR = "#1d2733"
GRID_COLOR = "#d8dee6"
BAD_COLOR = "#b3261e"
_DPI = 130
"""A figure of 7 inches then fits into Dagster's dialogs (910 of about 1000 pixels)."""


def new_figure(
    title: str, x: str, y: str, size: tuple[float, float] = (5.6, 4.6)
) -> tuple[Figure, Axes]:
    """A figure with one set of axes; `size` in inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=11.5, color=TEXT_COLOR, loc="left", fontweight="bold")
    axes.set_xlabel(x, fontsize=9.5, color=TEXT_COLOR)
    axes.set_ylabel(y, fontsize=9.5, color=TEXT_COLOR)
    axes.grid(color=GRID_COLOR, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8.5, colors=TEXT_COLOR)
    return figure, axes


def legend_below(figure: Figure, title: str | None = None) -> None:
    """A legend below the axes, where it covers no line."""
    figure.legend(
        loc="outside lower center",
        ncols=2,
        frameon=False,
        fontsize=8.5,
        title=title,
        title_fontsize=8.5,
    )


def styles(evaluation: Evaluation) -> Sequence[tuple[Predictor, str, float]]:
    """Predictor, colour, line width; the model last, so that it lies on top."""
    styled = [(item, color_of(item.name), 1.5) for item in evaluation.baselines]
    return [*styled, (evaluation.model, MODEL_COLOR, 2.4)]


def color_of(predictor: str) -> str:
    """The colour of a predictor, the same in all plots."""
    named = {
        "model": MODEL_COLOR,
        "logistic_regression": OTHER_COLORS[0],
        "xgboost": OTHER_COLORS[1],
        "majority": OTHER_COLORS[3],
    }
    return named.get(predictor, OTHER_COLORS[2])


def png_of(figure: Figure) -> bytes:
    """The figure as PNG; equal figures give equal bytes (on one matplotlib version)."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
