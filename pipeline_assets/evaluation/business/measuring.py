"""Loading business metrics by dotted path and applying them to every predictor."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipeline_assets.evaluation.business.rows import Measured, ScoredRows
from pipeline_assets.evaluation.result import BusinessFacts, Estimate

if TYPE_CHECKING:
    from pipeline_assets.spec import BusinessMetric

Metric = Callable[..., Any]


class BusinessMetricError(ValueError):
    """A declared metric that cannot be loaded or computed; the message names it."""


def load_metric(declared: BusinessMetric) -> Metric:
    """Import the function. Raises `BusinessMetricError` where there is none."""
    module_name, separator, function_name = declared.function.partition(":")
    where = f"evaluation metric {declared.name!r}: function {declared.function!r}"
    if not separator:
        raise BusinessMetricError(
            f"{where} is not of the form module:function, e.g. "
            "pipeline_assets.evaluation.business.card_precision:card_precision_at_k"
        )
    try:
        function = getattr(importlib.import_module(module_name), function_name)
    except (ImportError, AttributeError) as error:
        raise BusinessMetricError(f"{where} cannot be loaded: {error}") from None
    if not callable(function):
        raise BusinessMetricError(f"{where} is no function but {function!r}")
    return function


def measure(
    metrics: Sequence[tuple[BusinessMetric, Metric]], rows: Mapping[str, ScoredRows]
) -> dict[str, dict[str, Measured]]:
    """Every metric of every predictor.

    Args:
        metrics: declared metrics with their functions.
        rows: predictor to the scored test rows.

    Returns:
        Predictor to metric name to what was measured.

    Raises:
        BusinessMetricError: a function raises, or returns something else than a number.
    """
    return {
        predictor: {
            declared.name: _measured(declared, function, of) for declared, function in metrics
        }
        for predictor, of in rows.items()
    }


def _measured(declared: BusinessMetric, function: Metric, rows: ScoredRows) -> Measured:
    where = f"evaluation metric {declared.name!r} ({declared.function})"
    try:
        found = function(rows, **declared.options)
    except (ValueError, TypeError, KeyError) as error:
        raise BusinessMetricError(f"{where}: {error}") from error
    if isinstance(found, Measured):
        return found
    try:
        return Measured(value=float(found), daily={})
    except (TypeError, ValueError):
        raise BusinessMetricError(
            f"{where} returned {found!r} ({type(found).__name__}); a number is expected, or `Measured`"
        ) from None


def estimate_of(measured: Measured) -> Estimate:
    """The value without an interval: rows of one entity are not independent, resampling them misleads."""
    value = measured.value if math.isfinite(measured.value) else None
    return Estimate(value=value, low=None, high=None)


def difference(model: Estimate, other: Estimate) -> Estimate:
    """Model minus other; None where either is."""
    if model.value is None or other.value is None:
        return Estimate(value=None, low=None, high=None)
    return Estimate(value=model.value - other.value, low=None, high=None)


def daily_values(measured: Mapping[str, Measured]) -> dict[str, dict[str, float | None]]:
    """Metric to ISO date to value, for the metrics that have days."""
    return {
        name: {
            str(day): float(value) if math.isfinite(value) else None
            for day, value in sorted(item.daily.items())
        }
        for name, item in measured.items()
        if item.daily
    }


def facts(declared: BusinessMetric, function: Metric) -> BusinessFacts:
    """What the report says about a metric."""
    described = (function.__doc__ or "").strip().split("\n\n")[0]
    return BusinessFacts(
        name=declared.name,
        title=declared.title or declared.name.replace("_", " ").capitalize(),
        lower_is_better=declared.lower_is_better,
        how=" ".join(described.split()) or f"computed by {declared.function}",
        options={key: str(value) for key, value in declared.options.items()},
    )
