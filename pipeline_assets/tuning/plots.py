"""Pictures of a study: a line per trial across all settings, and how much each setting mattered."""

import json
import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from pipeline_assets.evaluation.plot_style import (
    GRID_COLOR,
    MODEL_COLOR,
    TEXT_COLOR,
    new_figure,
    png_of,
)
from pipeline_assets.spec import Domain
from pipeline_assets.training.config import Monitor
from pipeline_assets.training.metrics import is_better
from pipeline_assets.tuning.space import Space
from pipeline_assets.tuning.trials import Trial, best_trial

_TICKS = 5
_WIDTH = 7.0
"""In inches, however many settings: a wider picture is cut off in Dagster's dialog."""
_MOST_LEVEL = 6
"""Names of settings that fit side by side."""


def parallel_coordinates(trials: Sequence[Trial], space: Space, monitor: Monitor) -> bytes:
    """Draw each trial as a line across its settings to its score, the best one thick; PNG bytes.

    Colour is the score, on the scale of the last axis. Trials far worse than the others lie at its end, dashed, and
    the legend says from where on. Trials that failed or have no score are left out. Equal trials give equal bytes.
    """
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.collections import LineCollection
    from matplotlib.colors import Normalize

    best = best_trial(trials, monitor)
    scored = [
        (trial, score)
        for trial in trials
        if trial.outcome != "failed" and (score := trial.score(monitor)) is not None
    ]
    low, high = score_limits([score for _, score in scored], monitor)
    norm = Normalize(low, high, clip=True)
    # The brighter, the better.
    colormap = colormaps["viridis" if is_better(monitor, 1.0, 0.0) else "viridis_r"]
    figure, axes = new_figure("", "", "", (_WIDTH, 4.8))
    axes.set_title(
        f"{len(scored)} trial{'s' * (len(scored) != 1)}",
        fontsize=11.5,
        color=TEXT_COLOR,
        loc="left",
        pad=14,
    )
    beyond = 0
    for trial, score in sorted(scored, key=lambda item: item[0] is best):
        heights = [_height(domain, trial.settings[name]) for name, domain in space.items()]
        is_beyond = not low <= score <= high
        beyond += is_beyond
        axes.add_collection(
            LineCollection(
                [list(enumerate([*heights, norm(score)]))],
                colors=MODEL_COLOR if trial is best else [(*colormap(norm(score))[:3], 0.6)],
                linewidths=2.6 if trial is best else 1.1,
                linestyles="--" if is_beyond else "-",
                label=f"the best, trial {trial.number}: {score:.5g}" if trial is best else "",
            )
        )
    if beyond:
        worst = low if is_better(monitor, 1.0, 0.0) else high
        text = f"{beyond} worse than {worst:.4g}, drawn at the end of the axis"
        axes.plot([], [], "--", color=colormap(norm(worst)), linewidth=1.1, label=text)
    for at, domain in enumerate(space.values()):
        _mark(axes, at, _ticks(domain))
    axes.axvline(len(space), color=GRID_COLOR, linewidth=1.2, zorder=0)
    bar = figure.colorbar(
        ScalarMappable(norm, colormap), ax=axes, pad=0.0, fraction=0.03, aspect=40
    )
    bar.ax.tick_params(labelsize=8, colors=TEXT_COLOR)
    bar.outline.set_visible(False)
    names = [name.rpartition(".")[2] for name in space]
    turned = len(names) > _MOST_LEVEL
    axes.set_xticks(
        range(len(space) + 1),
        [*names, f"validation\n{monitor}"],
        fontsize=9,
        rotation=30 if turned else 0,
        ha="right" if turned else "center",
    )
    axes.set_yticks([])
    axes.set_xlim(-0.2, len(space))
    axes.set_ylim(0, 1)
    axes.grid(False)
    axes.spines[["left", "bottom"]].set_visible(False)
    figure.legend(loc="outside lower left", ncols=2, frameon=False, fontsize=8.5)
    return png_of(figure)


def score_limits(scores: Sequence[float], monitor: Monitor) -> tuple[float, float]:
    """Of the axis of scores: the better half has a third of it at least, if its scores differ.

    >>> score_limits([0.0, 0.75, 0.875, 1.0], "roc_auc")
    (0.4375, 1.0)
    """
    best, worst = min(scores), max(scores)
    if is_better(monitor, 1.0, 0.0):
        best, worst = worst, best
    reach = best + 3 * (median(scores) - best)
    if reach != best and is_better(monitor, reach, worst):
        worst = reach
    low, high = min(best, worst), max(best, worst)
    return (low, high) if low < high else (low - 0.005, high + 0.005)


def importance_bars(shares: Mapping[str, float]) -> bytes:
    """Draw the share of each setting, the largest on top; PNG bytes."""
    figure, axes = new_figure(
        "what mattered", "share (PED-ANOVA)", "", (6.4, 1.4 + 0.4 * len(shares))
    )
    names = list(shares)[::-1]
    axes.barh(names, [shares[name] for name in names], color=MODEL_COLOR, height=0.6)
    axes.set_xlim(0, 1)
    return png_of(figure)


def _mark(axes: Any, at: int, ticks: Sequence[tuple[float, str]]) -> None:
    from matplotlib.patheffects import withStroke

    axes.axvline(at, color=GRID_COLOR, linewidth=1.2, zorder=0)
    for height, text in ticks:
        label = axes.annotate(
            text,
            (at, height),
            xytext=(4, 0),
            textcoords="offset points",
            fontsize=7.5,
            color=TEXT_COLOR,
            va="center",
            zorder=4,
        )
        # Lines run below the text: the halo keeps it readable.
        label.set_path_effects([withStroke(linewidth=3, foreground="white")])


def _height(domain: Domain, value: Any) -> float:
    """Where a value lies on its axis, from 0 to 1."""
    if domain.kind == "choice":
        values = list(domain.values)
        return values.index(value) / (len(values) - 1)
    low, high = domain.values
    if domain.kind == "loguniform":
        return math.log(value / low) / math.log(high / low)
    return (value - low) / (high - low)


def _ticks(domain: Domain) -> list[tuple[float, str]]:
    if domain.kind == "choice":
        return [(_height(domain, value), json.dumps(value)) for value in domain.values]
    low, high = domain.values
    if domain.kind == "integer":
        found = sorted({round(low + (high - low) * step / (_TICKS - 1)) for step in range(_TICKS)})
    elif domain.kind == "loguniform":
        found = [low * (high / low) ** (step / (_TICKS - 1)) for step in range(_TICKS)]
    else:
        found = [low + (high - low) * step / (_TICKS - 1) for step in range(_TICKS)]
    return [(_height(domain, value), f"{value:.3g}") for value in found]
