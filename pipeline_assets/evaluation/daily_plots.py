"""Business metrics day by day, for the model and each baseline."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from pipeline_assets.evaluation.plot_style import legend_below, new_figure, styles
from pipeline_assets.evaluation.result import Evaluation

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def daily_plots(evaluation: Evaluation) -> dict[str, Figure]:
    """`daily_<metric>` to its figure, for the business metrics that have days."""
    return {
        f"daily_{item.name}": _daily(evaluation, item.name, item.title)
        for item in evaluation.business
        if item.name in evaluation.model.daily
    }


def _daily(evaluation: Evaluation, metric: str, title: str) -> Figure:
    from matplotlib.dates import date2num

    figure, axes = new_figure(f"{title} by day", "", title, size=(7.0, 4.0))
    for predictor, color, width in styles(evaluation):
        values = predictor.daily.get(metric, {})
        points = [
            (dt.date.fromisoformat(day), value)
            for day, value in values.items()
            if value is not None
        ]
        if points:
            value = predictor.metrics[metric].value
            axes.plot(
                *zip(*points),
                "o-",
                color=color,
                linewidth=width,
                markersize=4,
                label=predictor.title if value is None else f"{predictor.title} {value:.4f}",
            )
    days = sorted({dt.date.fromisoformat(day) for day in evaluation.model.daily[metric]})
    shown = days[:: max(1, len(days) // 8)]
    axes.set_xticks(date2num(shown), [f"{day:%b} {day.day}" for day in shown])
    legend_below(figure)
    return figure
