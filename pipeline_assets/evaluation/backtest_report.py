"""The backtest as plots and as one self-contained HTML file."""

from __future__ import annotations

import base64
import datetime as dt
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pipeline_assets.evaluation.backtest import Backtest
from pipeline_assets.evaluation.plot_style import (
    MODEL_COLOR,
    color_of,
    legend_below,
    new_figure,
    png_of,
)
from pipeline_assets.evaluation.report import html_environment

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def backtest_plots(backtest: Backtest) -> dict[str, bytes]:
    """Metric to a plot of its course for every predictor, as PNG; metrics without values have none."""
    return {
        metric: png_of(_course(backtest, metric))
        for metric in backtest.titles
        if any(item.metrics[metric].mean is not None for item in backtest.predictors)
    }


def render_backtest(backtest: Backtest, *, plots: Mapping[str, bytes]) -> str:
    """HTML text, with the plots (PNG bytes by metric) inside."""
    return (
        html_environment()
        .get_template("backtest.html")
        .render(
            backtest=backtest,
            model=backtest.predictors[0],
            plots={name: base64.b64encode(data).decode("ascii") for name, data in plots.items()},
        )
    )


def _course(backtest: Backtest, metric: str) -> Figure:
    from matplotlib.dates import date2num

    title = backtest.titles[metric]
    figure, axes = new_figure(f"{title} by training date", "", title, size=(7.0, 4.0))
    days = [dt.date.fromisoformat(item.date) for item in backtest.dates]
    # The model last, so that it lies on top.
    for item in [*backtest.predictors[1:], backtest.predictors[0]]:
        course = item.metrics[metric]
        points = [(day, value) for day, value in zip(days, course.values) if value is not None]
        if not points or course.mean is None:
            continue
        spread = "" if course.deviation is None else f" \N{PLUS-MINUS SIGN} {course.deviation:.4f}"
        color = color_of(item.name)
        axes.plot(
            *zip(*points),
            "o-",
            color=color,
            linewidth=2.4 if color == MODEL_COLOR else 1.5,
            markersize=4.5,
            label=f"{item.title} {course.mean:.4f}{spread}",
        )
    shown = days[:: max(1, len(days) // 8)]
    axes.set_xticks(date2num(shown), [f"{day:%b} {day.day}" for day in shown])
    legend_below(figure, "Mean and deviation")
    return figure
