"""ROC, precision-recall, calibration and lift curves as points for plots. Numbers to judge by are in `metrics`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline_assets.evaluation.metrics import Scored
from pipeline_assets.evaluation.result import Curves

POINTS = 100
"""Points kept along each of the two axes of a ROC curve."""
CALIBRATION_BINS = 10
"""Calibration bins, with equally many rows each."""


def curves(scored: Scored) -> Curves:
    """The four curves of one predictor. With one class only, the curves that need the other are empty."""
    _, hits, alarms = scored.steps()
    positives, negatives = hits[-1], alarms[-1]
    keep = _thin(hits, alarms)
    hits, alarms = hits[keep], alarms[keep]
    flagged = hits + alarms
    roc: tuple[list[float], list[float]] = ([], [])
    recall, precision, lift = [], [], []
    if positives and negatives:
        roc = _from(0.0, alarms / negatives), _from(0.0, hits / positives)
    if positives:
        recall = _from(0.0, hits / positives)
        precision = _from(hits[0] / flagged[0], hits / flagged)
        lift = (hits / flagged / (positives / scored.rows)).tolist()
    predicted, observed, rows = _calibration(scored)
    return Curves(
        false_positive_rate=roc[0],
        true_positive_rate=roc[1],
        recall=recall,
        precision=precision,
        predicted=predicted,
        observed=observed,
        bin_rows=rows,
        targeted=(flagged / scored.rows).tolist() if lift else [],
        lift=lift,
    )


def _calibration(scored: Scored) -> tuple[list[float], list[float], list[int]]:
    probabilities = np.asarray(scored.probabilities, dtype=np.float64)
    labels = np.asarray(scored.labels, dtype=np.float64)
    inner = np.unique(np.quantile(probabilities, np.linspace(0, 1, CALIBRATION_BINS + 1)[1:-1]))
    bins = np.searchsorted(inner, probabilities, side="right")
    rows = np.bincount(bins)
    used = rows > 0
    predicted = np.bincount(bins, probabilities)[used] / rows[used]
    observed = np.bincount(bins, labels)[used] / rows[used]
    return predicted.tolist(), observed.tolist(), rows[used].tolist()


def _thin(hits: NDArray[np.float64], alarms: NDArray[np.float64]) -> NDArray[np.intp]:
    """Positions of the points to keep, the first and the last among them.

    Evenly along both counts: where positives are rare, all of the precision-recall curve is in few steps.
    """
    if len(hits) <= 2 * POINTS:
        return np.arange(len(hits))
    kept = [np.array([0, len(hits) - 1])]
    for counts in (hits, alarms):
        kept.append(np.searchsorted(counts, np.linspace(0, counts[-1], POINTS)))
    return np.unique(np.concatenate(kept))


def _from(first: float, rest: NDArray[np.float64]) -> list[float]:
    return [float(first), *rest.tolist()]
