"""Pictures of a study: a line per trial across all settings, and how much each setting mattered."""

import json
import math
from collections.abc import Mapping, Sequence
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


def parallel_coordinates(trials: Sequence[Trial], space: Space, monitor: Monitor) -> bytes:
    """Draw each trial as a line across its settings to its score, the best one thick; PNG bytes.

    The brighter a line, the better its trial. Trials that failed or have no score are left out. Equal trials give
    equal bytes.
    """
    from matplotlib import colormaps
    from matplotlib.collections import LineCollection
    from matplotlib.colors import Normalize

    best = best_trial(trials, monitor)
    scored = [
        (trial, score)
        for trial in trials
        if trial.outcome != "failed" and (score := trial.score(monitor)) is not None
    ]
    scores = [score for _, score in scored]
    low, high = min(scores), max(scores)
    span = high - low or 1.0
    width = max(7.0, 1.7 * (len(space) + 1))
    figure, axes = new_figure(f"{len(scored)} trials", "", "", (width, 4.8))
    lines, colors, widths = [], [], []
    # By rank: most trials come close to the best, and one that diverged would make them all look alike.
    colormap, norm = colormaps["viridis"], Normalize(0, len(scored) - 1 or 1)
    worst_first = sorted(scored, key=lambda item: item[1], reverse=is_better(monitor, 0.0, 1.0))
    ranks = {trial.number: rank for rank, (trial, _) in enumerate(worst_first)}
    for trial, score in sorted(scored, key=lambda item: item[0] is best):
        heights = [_height(domain, trial.settings[name]) for name, domain in space.items()]
        lines.append(list(enumerate([*heights, (score - low) / span])))
        colors.append(
            MODEL_COLOR if trial is best else colormap(norm(ranks[trial.number]), alpha=0.5)
        )
        widths.append(2.6 if trial is best else 1.0)
    axes.add_collection(LineCollection(lines, colors=colors, linewidths=widths))
    for at, domain in enumerate(space.values()):
        _mark(axes, at, _ticks(domain))
    ticks = [
        (step / (_TICKS - 1), f"{low + span * step / (_TICKS - 1):.4g}") for step in range(_TICKS)
    ]
    _mark(axes, len(space), ticks)
    names = [name.rpartition(".")[2] for name in space]
    axes.set_xticks(range(len(space) + 1), [*names, f"validation\n{monitor}"], fontsize=9)
    axes.set_yticks([])
    axes.set_xlim(-0.35, len(space) + 0.6)
    axes.set_ylim(-0.04, 1.04)
    axes.grid(False)
    axes.spines[["left", "bottom"]].set_visible(False)
    return png_of(figure)


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
    axes.axvline(at, color=GRID_COLOR, linewidth=1.2, zorder=0)
    for height, text in ticks:
        axes.annotate(
            text,
            (at, height),
            xytext=(4, 0),
            textcoords="offset points",
            fontsize=7.5,
            color=TEXT_COLOR,
            va="center",
        )


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
