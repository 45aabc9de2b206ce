"""Choosing the decision threshold, on the validation split only. What is done with it is in `metrics`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline_assets.evaluation.metrics import Scored
from pipeline_assets.spec import ThresholdGoal


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """A threshold and how it came about."""

    value: float
    """Rows at or above it are predicted positive; above 1 nothing is."""
    reason: str
    """One sentence for the report."""
    attained: bool = True
    """The goal could be reached on the validation split."""


MAJORITY_THRESHOLD = Threshold(value=0.5, reason="0.5: the class that most training rows have")


def choose_threshold(
    labels: NDArray[np.floating], probabilities: NDArray[np.floating], goal: ThresholdGoal
) -> Threshold:
    """The best threshold for `goal` on these (validation) rows.

    Candidates lie halfway between neighbouring probabilities, and above all of them (predict nothing).
    Of equally good ones the highest is taken. Shapes: both [rows]. Raises `ValueError` as `Scored` does.
    """
    scored = Scored(labels, probabilities)
    scores, hits, alarms = scored.steps()
    lower = np.append(scores[1:], 0.0)
    candidates = np.append(np.nextafter(1.0, 2.0), (scores + lower) / 2)
    hits, alarms = np.append(0.0, hits), np.append(0.0, alarms)
    positives = hits[-1]
    flagged = hits + alarms
    if positives == 0:
        return Threshold(
            value=0.5,
            reason="0.5, because the validation split has no positive rows to choose by",
            attained=False,
        )
    if goal.goal == "max_f1":
        f1 = 2 * hits / (flagged + positives)
        best = int(np.argmax(f1))
        return Threshold(value=float(candidates[best]), reason=f"largest F1 ({f1[best]:.4f})")
    if goal.goal == "min_cost":
        cost = goal.false_positive_cost * alarms + goal.false_negative_cost * (positives - hits)
        best = int(np.argmin(cost))
        return Threshold(
            value=float(candidates[best]),
            reason=(
                f"lowest cost ({cost[best] / scored.rows:.4f} a row, at {goal.false_positive_cost:g} a "
                f"false alarm and {goal.false_negative_cost:g} a miss)"
            ),
        )
    wanted = goal.precision or 0.0
    precision = np.divide(hits, flagged, out=np.zeros_like(hits), where=flagged > 0)
    enough = precision >= wanted
    if not enough.any():
        best = int(np.argmax(precision))
        return Threshold(
            value=float(candidates[best]),
            reason=(
                f"highest precision ({precision[best]:.4f}), because no threshold reaches the "
                f"precision {wanted:g} that was asked for"
            ),
            attained=False,
        )
    best = int(np.argmax(np.where(enough, hits, -1.0)))
    return Threshold(
        value=float(candidates[best]),
        reason=f"largest recall ({hits[best] / positives:.4f}) at a precision of at least {wanted:g}",
    )
