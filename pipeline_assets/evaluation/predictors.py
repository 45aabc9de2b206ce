"""What is known of each predictor after scoring, put together: metrics with intervals, curves, comparisons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline_assets.evaluation.baselines import Fitted
from pipeline_assets.evaluation.bootstrap import differences, estimates
from pipeline_assets.evaluation.business.measuring import daily_values, difference, estimate_of
from pipeline_assets.evaluation.business.rows import Measured
from pipeline_assets.evaluation.curves import curves
from pipeline_assets.evaluation.metrics import Scored
from pipeline_assets.evaluation.result import Comparison, Confusion, Predictor
from pipeline_assets.evaluation.threshold import Threshold


def judged_predictors(
    fitted: Sequence[Fitted],
    chosen: Mapping[str, Threshold],
    scored: Mapping[str, Scored],
    values: Mapping[str, Mapping[str, float]],
    drawn: Mapping[str, NDArray[np.float64]],
    measured: Mapping[str, Mapping[str, Measured]],
    *,
    confidence: float,
) -> list[Predictor]:
    """Every predictor on the test rows, in the order given.

    Args:
        fitted: the predictors.
        chosen: thresholds by predictor.
        scored: test rows by predictor.
        values: usual metrics by predictor.
        drawn: their resamples [samples, metrics] by predictor.
        measured: business metrics by predictor.
        confidence: level of the intervals.
    """
    return [
        Predictor(
            name=item.name,
            title=item.title,
            how=item.how,
            threshold=chosen[item.name].value,
            threshold_reason=chosen[item.name].reason,
            threshold_attained=chosen[item.name].attained,
            metrics={
                **estimates(values[item.name], drawn[item.name], confidence),
                **{name: estimate_of(found) for name, found in measured[item.name].items()},
            },
            daily=daily_values(measured[item.name]),
            confusion=_confusion(scored[item.name]),
            curves=curves(scored[item.name]),
        )
        for item in fitted
    ]


def comparisons_with(
    predictors: Sequence[Predictor],
    values: Mapping[str, Mapping[str, float]],
    drawn: Mapping[str, NDArray[np.float64]],
    *,
    business: Sequence[str],
    confidence: float,
) -> list[Comparison]:
    """The first predictor, which is the model, minus each other one."""
    model, *others = predictors
    return [
        Comparison(
            baseline=item.name,
            differences={
                **differences(
                    (values[model.name], drawn[model.name]),
                    (values[item.name], drawn[item.name]),
                    confidence,
                ),
                **{name: difference(model.metrics[name], item.metrics[name]) for name in business},
            },
        )
        for item in others
    ]


def _confusion(scored: Scored) -> Confusion:
    counts = scored.confusion()
    return Confusion(
        true_positive=round(counts.true_positive),
        false_positive=round(counts.false_positive),
        false_negative=round(counts.false_negative),
        true_negative=round(counts.true_negative),
    )
