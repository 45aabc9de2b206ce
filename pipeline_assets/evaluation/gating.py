"""The gate: whether a model may be registered, and why (not). What is measured is in `evaluating`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline_assets.evaluation.metrics import LOWER_IS_BETTER, TITLES
from pipeline_assets.evaluation.result import Estimate, Evaluation, GateResult

if TYPE_CHECKING:
    from pipeline_assets.spec import UseCase


def gate(evaluation: Evaluation, use_case: UseCase) -> GateResult:
    """Hold the model's test metric against the declared minimum and the declared baseline.

    The estimates decide, not their intervals: the same numbers give the same verdict, and the reason
    says when the difference is within what chance explains. Raises `KeyError` if the evaluation lacks
    the gate's baseline (`evaluate` always adds it).
    """
    rule = use_case.evaluation.gate
    business = evaluation.business_metric(rule.metric)
    lower = business.lower_is_better if business else rule.metric in LOWER_IS_BETTER
    title = business.title if business else TITLES[rule.metric]
    value = evaluation.model.metrics[rule.metric].value
    reference = evaluation.baseline(rule.baseline) if rule.baseline else None
    baseline_value = reference.metrics[rule.metric].value if reference else None
    if value is None:
        failures = [
            f"{title} is not defined on the test split "
            f"({evaluation.splits['test'].rows:,} rows, label rate {evaluation.splits['test'].label_rate})"
        ]
        passes = []
    else:
        failures, passes = [], []
        sign = -1.0 if lower else 1.0
        if rule.minimum is not None:
            met = sign * value >= sign * rule.minimum
            bound = "at most" if lower else "at least"
            text = f"{title} {value:.4f} ({bound} {rule.minimum:g} is required)"
            (passes if met else failures).append(text)
        if reference is not None and baseline_value is not None:
            met = sign * value >= sign * baseline_value - rule.tolerance
            text = f"{title} {value:.4f} against {baseline_value:.4f} of {reference.title}"
            if rule.tolerance:
                text += f" (tolerance {rule.tolerance:g})"
            text += _difference(evaluation, reference.name, rule.metric)
            (passes if met else failures).append(text)
    passed = not failures
    if passed:
        reason = (
            "Passed: "
            + ("; ".join(passes) or "the use case declares no minimum and no baseline")
            + "."
        )
    else:
        reason = "Failed: " + "; ".join(failures) + "."
        if passes:
            reason += " Met: " + "; ".join(passes) + "."
    return GateResult(
        passed=passed,
        reason=reason,
        metric=rule.metric,
        value=value,
        minimum=rule.minimum,
        baseline=rule.baseline,
        baseline_value=baseline_value,
        tolerance=rule.tolerance,
    )


def _difference(evaluation: Evaluation, baseline: str, metric: str) -> str:
    found: Estimate | None = next(
        (item.differences[metric] for item in evaluation.comparisons if item.baseline == baseline),
        None,
    )
    if found is None or found.value is None:
        return ""
    if found.low is None or found.high is None:
        return f", difference {found.value:+.4f}"
    level = f"{evaluation.confidence:.0%}"
    chance = ", within chance" if found.low <= 0 <= found.high else ""
    return f", difference {found.value:+.4f} ({level} interval {found.low:+.4f} to {found.high:+.4f}{chance})"
