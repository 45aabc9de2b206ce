"""From the merged partial to the published statistics."""

from __future__ import annotations

import numpy as np

from pipeline_assets.features.split import SPLITS
from pipeline_assets.statistics.model import (
    CategoricalStatistics,
    Category,
    Distribution,
    FeatureStatistics,
    Histogram,
    NumericStatistics,
)
from pipeline_assets.statistics.moments import CoMoments, Moments
from pipeline_assets.statistics.partial import Partial
from pipeline_assets.statistics.separation import categorical_auc, numeric_auc
from pipeline_assets.statistics.sketches import CategoryCounts, text_hash

SAMPLE_ROWS = 2**17
"""Training rows that order statistics rest on: exact up to so many, beyond it a sample whose
quantiles are off in rank by 0.0014 (one standard error); fewer with more than 256 features."""

SPEARMAN_ROWS = 2**14
"""Training rows that the Spearman matrix rests on."""

QUANTILES = (0.01, 0.05, 0.1, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.9, 0.95, 0.99)
"""Published quantiles; `f"{q:g}"` is their key."""

DISTRIBUTION_POINTS = 1000
"""Points of a published distribution."""

_BINS = 32
_OWN_BINS = 12
_INTEGER_BINS = 100


def sample_size(features: int) -> int:
    """Return how many rows are sampled: at most 2^17, and about 2^25 values, but at least 2^14."""
    return int(min(SAMPLE_ROWS, max(SPEARMAN_ROWS, 2**25 // max(features, 1))))


def summarise(partial: Partial, *, vocabulary: int) -> FeatureStatistics:
    """Return the statistics of all rows that `partial` has seen.

    Args:
        partial: the merged partial.
        vocabulary: how many categories are listed per categorical feature.
    """
    hashes, block, positive = partial.sample(sample_size(len(partial.numeric)))
    half = (hashes & np.uint64(1)).astype(np.int64)
    columns = block.astype(np.float64)
    training = int(partial.rows[0].sum())
    numeric = [
        _numeric(name, at, partial, training, columns[:, at], positive)
        for at, name in enumerate(partial.numeric)
    ]
    ordered = [counts.ordered() for counts in partial.counts]
    separation = {
        **{
            name: numeric_auc(columns[:, at], positive, half)
            for at, name in enumerate(partial.numeric)
        },
        **{
            name: categorical_auc(np.vstack([counts, partial.counts[at].missing]))
            for at, (name, (_, counts)) in enumerate(zip(partial.categorical, ordered, strict=True))
        },
    }
    totals = partial.rows.sum(axis=1)
    return FeatureStatistics(
        rows={name: int(totals[at]) for at, name in enumerate(SPLITS)},
        label_rate={
            name: float(partial.rows[at, 1] / max(totals[at], 1)) for at, name in enumerate(SPLITS)
        },
        row_id_sums={name: int(partial.row_id_sums[at]) for at, name in enumerate(SPLITS)},
        repeated_row_ids=partial.repeated,
        split_overlaps=partial.overlaps,
        sample_rows=len(positive),
        spearman_rows=min(len(positive), SPEARMAN_ROWS),
        numeric=numeric,
        categorical=[
            _categorical(name, training, partial.counts[at], *ordered[at], vocabulary)
            for at, name in enumerate(partial.categorical)
        ],
        pearson=_matrix(partial.comoments.correlation()),
        spearman=_matrix(spearman(columns[:SPEARMAN_ROWS])),
        single_feature_auc=separation,
    )


def spearman(block: np.ndarray) -> np.ndarray:
    """Return Spearman's rho over pairs with both values; float64 [rows, F] to [F, F].

    Ranks are taken among the rows of each pair, so pairs with missing values are ranked one by one.
    """
    missing = _missing(block)
    ranks = np.column_stack([_ranks(column) for column in block.T]) if block.size else block
    rho = CoMoments.of(ranks).correlation()
    gaps = missing.sum(axis=0) > 0
    for one in range(block.shape[1]):
        for other in range(one):
            if gaps[one] or gaps[other]:
                both = ~(missing[:, one] | missing[:, other])
                pair = np.column_stack([_ranks(block[both, one]), _ranks(block[both, other])])
                rho[one, other] = rho[other, one] = CoMoments.of(pair).correlation()[0, 1]
    return rho


def _missing(block: np.ndarray) -> np.ndarray:
    return np.isnan(block)


def _ranks(values: np.ndarray) -> np.ndarray:
    """Return ranks from 1, ties sharing their mean, NaN where the value is."""
    ranks = np.full(values.shape, np.nan)
    present = ~np.isnan(values)
    _, group, counts = np.unique(values[present], return_inverse=True, return_counts=True)
    ranks[present] = (np.cumsum(counts) - (counts - 1) / 2.0)[group]
    return ranks


def distribution(values: np.ndarray) -> Distribution:
    """Return the empirical distribution of values without NaN, float64 [n], n may be 0."""
    ordered = np.sort(values)
    if not len(ordered):
        return Distribution(values=[], cumulative=[], rows=0)
    points = np.unique(ordered)
    if len(points) > DISTRIBUTION_POINTS:
        at = np.linspace(0, len(ordered) - 1, DISTRIBUTION_POINTS).round().astype(np.int64)
        points = np.unique(ordered[at])
    cumulative = np.searchsorted(ordered, points, side="right") / len(ordered)
    return Distribution(values=points.tolist(), cumulative=cumulative.tolist(), rows=len(ordered))


def histogram(values: np.ndarray, positive: np.ndarray) -> Histogram:
    """Return a histogram by label of values without NaN, float64 [n].

    Up to 12 distinct values, and whole numbers within 100, get an interval each; otherwise 32 equal
    ones between the 0.5 % and the 99.5 % quantile, the first and last taking what lies outside.
    """
    points = np.unique(values)
    if not len(points):
        return Histogram(edges=[], counts=[], positives=[])
    if len(points) == 1:
        edges = np.array([points[0] - 0.5, points[0] + 0.5])
    elif len(points) <= _OWN_BINS:
        between = (points[1:] + points[:-1]) / 2
        first = points[0] - (between[0] - points[0])
        edges = np.concatenate([[first], between, [points[-1] + (points[-1] - between[-1])]])
    elif points[-1] - points[0] < _INTEGER_BINS and (points == np.round(points)).all():
        edges = np.arange(points[0] - 0.5, points[-1] + 1.0)
    else:
        low, high = np.quantile(values, [0.005, 0.995])
        if low == high:
            low, high = points[0], points[-1]
        edges = np.linspace(low, high, _BINS + 1)
    inner = np.searchsorted(edges[1:-1], values, side="right")
    return Histogram(
        edges=edges.tolist(),
        counts=np.bincount(inner, minlength=len(edges) - 1).tolist(),
        positives=np.bincount(inner[positive], minlength=len(edges) - 1).tolist(),
    )


def _numeric(
    name: str, at: int, partial: Partial, training: int, column: np.ndarray, positive: np.ndarray
) -> NumericStatistics:
    moments: Moments = partial.moments
    n = int(moments.count[at])
    low, high = float(moments.min[at]), float(moments.max[at])
    m2, m3, m4 = (float(values[at]) for values in (moments.m2, moments.m3, moments.m4))
    varies = n > 0 and low < high
    present = ~np.isnan(column)
    values = column[present]
    quantiles = np.quantile(values, QUANTILES).tolist() if len(values) else []
    return NumericStatistics(
        name=name,
        count=n,
        missing=training - n,
        mean=float(moments.mean[at]) if varies else (low if n else None),
        std=(float(np.sqrt(m2 / (n - 1))) if varies else 0.0) if n > 1 else None,
        min=low if n else None,
        max=high if n else None,
        skewness=m3 / n / (m2 / n) ** 1.5 if varies else None,
        kurtosis=m4 / n / (m2 / n) ** 2 - 3.0 if varies else None,
        zeros=int(moments.zeros[at]),
        distinct=partial.distinct[at].estimate(),
        quantiles={f"{q:g}": value for q, value in zip(QUANTILES, quantiles, strict=False)},
        histogram=histogram(values, positive[present]),
        distribution=distribution(values),
    )


def _categorical(
    name: str,
    training: int,
    counts: CategoryCounts,
    values: list[str],
    table: np.ndarray,
    vocabulary: int,
) -> CategoricalStatistics:
    totals = table.sum(axis=1)[:vocabulary]
    positives = table[:vocabulary, 1] + table[:vocabulary, 3]
    missing = int(counts.missing.sum())
    return CategoricalStatistics(
        name=name,
        count=training - missing,
        missing=missing,
        distinct=counts.distinct.estimate(),
        top=[
            Category(value, text_hash(value), int(rows))
            for value, rows in zip(values[:vocabulary], totals, strict=True)
        ],
        label_rates=(positives / np.maximum(totals, 1)).tolist(),
        count_error=counts.error,
    )


def _matrix(values: np.ndarray) -> list[list[float | None]]:
    return [[None if np.isnan(value) else float(value) for value in row] for row in values]
