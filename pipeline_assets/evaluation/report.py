"""The evaluation as one self-contained HTML file: no script, no font, no image from elsewhere."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pipeline_assets.evaluation.metrics import ECE_BINS, LOWER_IS_BETTER, TITLES
from pipeline_assets.evaluation.plots import evaluation_plots
from pipeline_assets.evaluation.result import Estimate, Evaluation

if TYPE_CHECKING:
    from jinja2 import Environment

_CAPTIONS = {
    "roc": "How many positives are found (up) for how many false alarms (right). Best is the upper left.",
    "precision_recall": "How many alarms are right (up) while more positives are found (right).",
    "calibration": "Of the rows that were given a probability of p, the share p should be positive.",
    "lift": "How many times more positives than at random are among the rows with the highest probability.",
    "confusion": "Test rows by actual class and by the model's decision.",
    "daily": "Each test day by itself; the figure above is the metric over all of them.",
    "slices": "Grey slices have too few rows to be judged; the worst of the others is red.",
    "importance": "Features that carry the same information share the loss.",
}


def render_report(
    evaluation: Evaluation,
    *,
    plots: Mapping[str, bytes] | None = None,
) -> str:
    """HTML text. The plots (PNG bytes by name) are drawn here unless they are given."""
    plots = evaluation_plots(evaluation) if plots is None else plots
    return (
        html_environment()
        .get_template("report.html")
        .render(
            evaluation=evaluation,
            verdict=evaluation.verdict,
            plots={name: base64.b64encode(data).decode("ascii") for name, data in plots.items()},
            captions=_CAPTIONS,
            metrics=list(evaluation.model.metrics),
            titles=TITLES | {item.name: item.title for item in evaluation.business},
            lower=LOWER_IS_BETTER
            | {item.name for item in evaluation.business if item.lower_is_better},
            ece_bins=ECE_BINS,
            comparisons={item.baseline: item.differences for item in evaluation.comparisons},
        )
    )


def html_environment() -> Environment:
    """The templates, with filters for figures; texts are escaped."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pipeline_assets.evaluation", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["figure"] = _figure
    environment.filters["interval"] = _interval
    environment.filters["signed"] = _signed
    return environment


def _figure(value: float | None, digits: int = 4) -> str:
    return "n/a" if value is None else f"{value:.{digits}f}"


def _interval(estimate: Estimate) -> str:
    if estimate.low is None or estimate.high is None:
        return ""
    return f"{estimate.low:.4f} to {estimate.high:.4f}"


def _signed(value: float | None) -> str:
    return "n/a" if value is None else f"{value:+.4f}".replace("-", "\N{MINUS SIGN}")
