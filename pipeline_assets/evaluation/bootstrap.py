"""Confidence intervals by the Poisson bootstrap: each row counts 0, 1, 2, ... times, independently.

(Hanley and MacGibbon 2006; Chamandy et al. 2012. For ratios, as all metrics here are, it agrees
with drawing rows with replacement.) All predictors see the same resamples, so that the interval of
a difference (model minus baseline) is paired.

Every metric is a function of a few sums of row weights: of positives and negatives in each group
of neighbouring scores, of errors in each calibration bin, of losses. So a block of resamples is one
product of a sparse matrix and a matrix of weights. Groups are single scores where there are at most
`GROUPS` of them, and hold equally many rows otherwise. Rows of a group count as ties: that moves
the area by about 1 / GROUPS^2, and average precision by some ten-thousandths, by as much in every
resample, which centring the interval on the exact estimate takes away again. Measured on two cores:
500 resamples of 100,000 rows and four predictors in 1.6 s.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from pipeline_assets.evaluation.metrics import METRICS, Scored
from pipeline_assets.evaluation.result import Estimate

GROUPS = 2048
"""Groups of neighbouring scores, about."""

_BLOCK = 8_000_000
"""Weights drawn at once: 32 MB."""


def resample(
    predictors: Mapping[str, Scored], *, samples: int, seed: int
) -> dict[str, NDArray[np.float64]]:
    """Metrics of each predictor on each resample: arrays [samples, len(METRICS)], by predictor.

    The predictors must score the same rows in the same order. NaN where a resample leaves a metric
    undefined. Raises `ValueError` for predictors with different numbers of rows.
    """
    sizes = {scored.rows for scored in predictors.values()}
    if len(sizes) != 1:
        raise ValueError(f"predictors must score the same rows, got {sorted(sizes)} rows")
    rows = sizes.pop()
    random = np.random.default_rng(seed)
    sums = {name: _Sums(scored) for name, scored in predictors.items()}
    drawn = {name: np.empty((samples, len(METRICS))) for name in predictors}
    block = max(1, min(samples, _BLOCK // rows))
    for start in range(0, samples, block):
        size = min(block, samples - start)
        # weights [rows, size]: one table look-up per number instead of a Poisson generator's loop.
        weights = _POISSON[random.integers(0, 2**16, (rows, size), dtype=np.uint16)]
        for name, of_predictor in sums.items():
            drawn[name][start : start + size] = of_predictor.metrics(weights)
    return drawn


def _poisson_table() -> NDArray[np.float32]:
    """The Poisson(1) count of each of 65,536 equally likely draws."""
    below = np.cumsum([math.exp(-1) / math.factorial(count) for count in range(10)])
    return np.searchsorted(below, (np.arange(2**16) + 0.5) / 2**16, side="right").astype(np.float32)


_POISSON = _poisson_table()


class _Sums:
    """The sums of row weights from which one predictor's metrics follow, as one sparse matrix."""

    def __init__(self, scored: Scored) -> None:
        order, labels = scored.order, scored.sorted_labels
        rows = scored.rows
        tie_ends = scored.tie_ends
        targets = np.linspace(0, rows - 1, min(rows, GROUPS)).round().astype(np.intp)
        last = np.concatenate(
            [
                tie_ends[np.searchsorted(tie_ends, targets)],
                scored.bin_ends,
                [scored.flagged_rows - 1] if scored.flagged_rows else [],
            ]
        ).astype(np.intp)
        last = np.unique(last)
        group = np.searchsorted(last, np.arange(rows))
        bins = np.searchsorted(scored.bin_ends, np.arange(rows))
        self._groups, self._bins = len(last), len(scored.bin_ends)
        self._flagged_groups = int(np.searchsorted(last, scored.flagged_rows - 1, side="right"))
        error = scored.sorted_probabilities - labels
        base = 2 * self._groups
        lines = [group + self._groups * (labels > 0), base + bins]
        lines += [np.full(rows, base + self._bins), np.full(rows, base + self._bins + 1)]
        values = [np.ones(rows), error, scored.sorted_losses, error * error]
        self._matrix = sparse.csr_array(
            (np.concatenate(values).astype(np.float32), (np.concatenate(lines), np.tile(order, 4))),
            shape=(base + self._bins + 2, rows),
        )

    def metrics(self, weights: NDArray[np.float32]) -> NDArray[np.float64]:
        """Weights [rows, samples] to metrics [samples, len(METRICS)]."""
        sums = (self._matrix @ weights).astype(np.float64)
        negative, positive = sums[: self._groups], sums[self._groups : 2 * self._groups]
        gaps = sums[2 * self._groups : -2]
        with np.errstate(divide="ignore", invalid="ignore"):
            hits, alarms = np.cumsum(positive, axis=0), np.cumsum(negative, axis=0)
            positives, negatives = hits[-1], alarms[-1]
            rows = positives + negatives
            flagged = hits + alarms
            step_precision = hits / np.maximum(flagged, 1e-30)
            true = hits[self._flagged_groups - 1] if self._flagged_groups else 0 * positives
            predicted = flagged[self._flagged_groups - 1] if self._flagged_groups else 0 * positives
            area = (negative * (hits - positive / 2)).sum(axis=0) / (positives * negatives)
            average_precision = (positive * step_precision).sum(axis=0) / positives
            by_name = {
                "roc_auc": area,
                "average_precision": average_precision,
                "log_loss": sums[-2] / rows,
                "brier": sums[-1] / rows,
                "ece": np.abs(gaps).sum(axis=0) / rows,
                "precision": np.where(predicted > 0, true / predicted, 0.0),
                "recall": true / positives,
                "f1": np.where(positives > 0, 2 * true / (predicted + positives), np.nan),
            }
        return np.stack([by_name[name] for name in METRICS], axis=1)


def interval(
    value: float,
    resampled: NDArray[np.float64],
    confidence: float,
    bounds: tuple[float, float] | None = None,
) -> Estimate:
    """The estimate with its interval: percentiles of the resamples, centred on the estimate.

    Without that the interval of the calibration error, which resampling inflates, could lie wholly
    above the estimate. `resampled` is [samples]; undefined resamples are left out. `bounds` clip
    the interval.
    """
    if not np.isfinite(value):
        return Estimate(value=None, low=None, high=None)
    usable = resampled[np.isfinite(resampled)]
    if usable.size < 2:
        return Estimate(value=value, low=None, high=None)
    tail = (1 - confidence) / 2
    low, high = np.quantile(usable, [tail, 1 - tail]) - usable.mean() + value
    if bounds is not None:
        low, high = np.clip([low, high], *bounds)
    return Estimate(value=value, low=float(low), high=float(high))


def estimates(
    values: Mapping[str, float], resampled: NDArray[np.float64], confidence: float
) -> dict[str, Estimate]:
    """Every metric of one predictor with its interval; `resampled` is [samples, len(METRICS)]."""
    return {
        name: interval(
            values[name],
            resampled[:, column],
            confidence,
            bounds=(0.0, np.inf) if name == "log_loss" else (0.0, 1.0),
        )
        for column, name in enumerate(METRICS)
    }


def differences(
    first: tuple[Mapping[str, float], NDArray[np.float64]],
    second: tuple[Mapping[str, float], NDArray[np.float64]],
    confidence: float,
) -> dict[str, Estimate]:
    """First minus second, metric by metric, with paired intervals.

    Each argument is (values by metric, resamples [samples, len(METRICS)] of one `resample` call).
    """
    return {
        name: interval(
            first[0][name] - second[0][name], first[1][:, column] - second[1][:, column], confidence
        )
        for column, name in enumerate(METRICS)
    }
