"""Compares current data with a reference, feature by feature.

A result fails only where a difference is both large (beyond the declared threshold) and significant
(p below the declared value): with many rows, harmless differences are significant; with few rows,
large ones are noise. With no drift, each test therefore fails with a probability far below `p_value`
as soon as there are some hundred rows.

- `ks` (numeric): two-sample Kolmogorov-Smirnov distance; Smirnov's asymptotic p-value.
- `psi` (numeric on the reference's deciles, categorical on its top 20 categories and "others"):
  population stability index; p from its limit law: psi * nm / (n + m) is chi-square distributed
  with bins - 1 degrees of freedom where nothing changed (Yurdakul and Naranjo, 2020).
- `chi_square` (categorical, and the label): Pearson's test of homogeneity over the same categories.
  The value that meets the `ks` threshold is the total variation distance, the largest difference in
  share of any set of categories: what the KS distance is for numbers.
- `missing_share`: absolute change; p of the two-proportion z-test.
- `volume`: the larger row count over the smaller.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipeline_assets.spec.monitoring import Monitoring
from pipeline_assets.statistics.model import (
    CategoricalStatistics,
    Distribution,
    FeatureStatistics,
    NumericStatistics,
)

Test = Literal["ks", "psi", "chi_square", "missing_share", "volume"]

ROWS = "rows"
"""Stands for the feature's name in the volume test."""

LABEL = "label"
"""The label's name in its chi-square test."""

_CATEGORIES = 20


@dataclass(frozen=True, kw_only=True)
class DriftResult:
    """One test of one feature."""

    feature: str
    """Feature; `rows` for volume, `label` for the label."""
    test: Test
    """Which test."""
    value: float
    """Size of the difference."""
    threshold: float
    """Largest value that passes."""
    p_value: float | None
    """Probability of so large a value without drift; None where size alone decides."""
    passed: bool
    """False where the value is above the threshold and significant."""

    @property
    def sentence(self) -> str:
        """The result in words, for checks, tags and alerts."""
        verdict = "within" if self.passed else "above"
        p_value = "" if self.p_value is None else f", p = {self.p_value:.2g}"
        return (
            f"{self.feature}: {self.test} {self.value:.4g} is {verdict} {self.threshold:g}{p_value}"
        )


def compare(
    reference: FeatureStatistics, current: FeatureStatistics, thresholds: Monitoring
) -> list[DriftResult]:
    """Compare two feature versions; results in feature order, label and volume last.

    A feature that the current version lacks counts as missing in all rows.
    """
    results: list[DriftResult] = []
    numeric = {item.name: item for item in current.numeric}
    categorical = {item.name: item for item in current.categorical}
    for item in reference.numeric:
        now = numeric.get(item.name)
        results.append(_missing(item, now, thresholds))
        if now is not None and item.count and now.count:
            results += _numeric_drift(item, now, thresholds)
    for item in reference.categorical:
        now = categorical.get(item.name)
        results.append(_missing(item, now, thresholds))
        if now is not None and item.count and now.count:
            results += _categorical_drift(item, now, thresholds)
    results.append(_label_drift(reference, current, thresholds))
    volumes = sum(reference.rows.values()), sum(current.rows.values())
    results.append(compare_volume(*volumes, thresholds))
    return results


def compare_volume(reference: int, current: int, thresholds: Monitoring) -> DriftResult:
    """Compare two row counts, e.g. of raw versions."""
    low, high = sorted((reference, current))
    ratio = high / low if low else (1.0 if high == 0 else math.inf)
    return DriftResult(
        feature=ROWS,
        test="volume",
        value=ratio,
        threshold=thresholds.volume_ratio,
        p_value=None,
        passed=ratio <= thresholds.volume_ratio,
    )


def ks_distance(one: Distribution, other: Distribution) -> float:
    """Return the largest difference of two empirical distribution functions."""
    points = np.union1d(one.values, other.values)
    return float(np.abs(_share_up_to(one, points) - _share_up_to(other, points)).max())


def ks_p_value(distance: float, rows: int, other_rows: int) -> float:
    """Return Smirnov's asymptotic two-sample p-value, with Stephens' correction (1970)."""
    from scipy.special import kolmogorov

    root = math.sqrt(rows * other_rows / (rows + other_rows))
    return float(kolmogorov((root + 0.12 + 0.11 / root) * distance))


def psi(reference: np.ndarray, current: np.ndarray) -> float:
    """Return the population stability index of two vectors of counts over the same bins.

    Half a row is added to each bin, so that an empty one gives no infinity.
    """
    before = (reference + 0.5) / (reference + 0.5).sum()
    after = (current + 0.5) / (current + 0.5).sum()
    return float(((after - before) * np.log(after / before)).sum())


def _numeric_drift(
    reference: NumericStatistics, current: NumericStatistics, thresholds: Monitoring
) -> list[DriftResult]:
    before, now = reference.distribution, current.distribution
    if not before.rows or not now.rows:
        return []
    distance = ks_distance(before, now)
    deciles = [reference.quantiles[f"{at / 10:g}"] for at in range(1, 10)]
    edges = np.unique(deciles)
    counts = [
        np.diff(np.concatenate([[0.0], _share_up_to(each, edges), [1.0]])) * each.rows
        for each in (before, now)
    ]
    p_value = ks_p_value(distance, before.rows, now.rows)
    return [
        _result(reference.name, "ks", distance, thresholds.ks, p_value, thresholds),
        _psi_result(reference.name, counts[0], counts[1], thresholds),
    ]


def _categorical_drift(
    reference: CategoricalStatistics, current: CategoricalStatistics, thresholds: Monitoring
) -> list[DriftResult]:
    # A category that the current top does not list is rare there: it counts as 0 and its rows as
    # others, off by less than the last listed count.
    names = [item.value for item in reference.top[:_CATEGORIES]]
    counts = []
    for each in (reference, current):
        rows = {item.value: item.rows for item in each.top}
        listed = [float(rows.get(name, 0)) for name in names]
        counts.append(np.array([*listed, max(each.count - sum(listed), 0.0)]))
    return [
        _chi_square_result(reference.name, counts[0], counts[1], thresholds),
        _psi_result(reference.name, counts[0], counts[1], thresholds),
    ]


def _label_drift(
    reference: FeatureStatistics, current: FeatureStatistics, thresholds: Monitoring
) -> DriftResult:
    counts = []
    for each in (reference, current):
        positive = sum(each.rows[split] * each.label_rate[split] for split in each.rows)
        counts.append(np.array([sum(each.rows.values()) - positive, positive]))
    return _chi_square_result(LABEL, counts[0], counts[1], thresholds)


def _missing(
    reference: NumericStatistics | CategoricalStatistics,
    current: NumericStatistics | CategoricalStatistics | None,
    thresholds: Monitoring,
) -> DriftResult:
    rows = reference.count + reference.missing
    before = reference.missing / max(rows, 1)
    if current is None:
        change, p_value = 1.0 - before, 0.0
    else:
        other_rows = current.count + current.missing
        change = abs(current.missing / max(other_rows, 1) - before)
        pooled = (reference.missing + current.missing) / max(rows + other_rows, 1)
        error = math.sqrt(pooled * (1 - pooled) * (1 / max(rows, 1) + 1 / max(other_rows, 1)))
        p_value = math.erfc(change / error / math.sqrt(2)) if error else 1.0
    threshold = thresholds.missing_share
    return _result(reference.name, "missing_share", change, threshold, p_value, thresholds)


def _chi_square_result(
    name: str, before: np.ndarray, now: np.ndarray, thresholds: Monitoring
) -> DriftResult:
    from scipy.special import chdtrc

    totals = before.sum(), now.sum()
    distance = 0.0
    p_value = 1.0
    if len(before) > 1 and all(totals):
        distance = float(np.abs(before / totals[0] - now / totals[1]).sum() / 2)
        column = before + now
        used = column > 0
        expected = np.outer(totals, column[used]) / sum(totals)
        statistic = ((np.vstack([before, now])[:, used] - expected) ** 2 / expected).sum()
        p_value = float(chdtrc(max(int(used.sum()) - 1, 1), statistic))
    return _result(name, "chi_square", distance, thresholds.ks, p_value, thresholds)


def _psi_result(
    name: str, before: np.ndarray, now: np.ndarray, thresholds: Monitoring
) -> DriftResult:
    from scipy.special import chdtrc

    used = (before + now) > 0
    before, now = before[used], now[used]
    value = psi(before, now)
    scale = before.sum() * now.sum() / (before.sum() + now.sum())
    p_value = float(chdtrc(len(before) - 1, value * scale)) if len(before) > 1 else 1.0
    return _result(name, "psi", value, thresholds.psi, p_value, thresholds)


def _result(
    name: str, test: Test, value: float, threshold: float, p_value: float, thresholds: Monitoring
) -> DriftResult:
    return DriftResult(
        feature=name,
        test=test,
        value=value,
        threshold=threshold,
        p_value=p_value,
        passed=value <= threshold or p_value >= thresholds.p_value,
    )


def _share_up_to(distribution: Distribution, points: np.ndarray) -> np.ndarray:
    """Return the share of values not above each point."""
    shares = np.concatenate([[0.0], distribution.cumulative])
    return shares[np.searchsorted(distribution.values, points, side="right")]
