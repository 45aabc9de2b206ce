"""Moments, distinct counts and categories: merging, accuracy, forgetting."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_assets.statistics.compute import sample_bound
from pipeline_assets.statistics.moments import CoMoments, Moments
from pipeline_assets.statistics.sketches import CategoryCounts, Distinct, float_hashes, mix


@settings(deadline=None)
@given(st.integers(0, 10_000), st.lists(st.integers(0, 60), min_size=1, max_size=6))
def test_moments_merge_in_any_parts(seed: int, sizes: list[int]) -> None:
    random = np.random.default_rng(seed)
    block = 1e7 + random.gamma(2, 1, (sum(sizes), 3))
    block[random.random(block.shape) < 0.2] = np.nan
    parts = np.split(block, np.cumsum(sizes)[:-1])
    merged, co = Moments.of(parts[0]), CoMoments.of(parts[0])
    for part in parts[1:]:
        merged, co = merged.merge(Moments.of(part)), co.merge(CoMoments.of(part))
    for at in range(3):
        values = block[~np.isnan(block[:, at]), at]
        assert merged.count[at] == len(values)
        if len(values) < 3:
            continue
        assert merged.mean[at] == pytest.approx(values.mean(), rel=1e-14)
        assert merged.m2[at] / len(values) == pytest.approx(values.var(), rel=1e-7)
        skewness = merged.m3[at] / len(values) / (merged.m2[at] / len(values)) ** 1.5
        assert skewness == pytest.approx(scipy.stats.skew(values), abs=1e-5)
        assert co.m2[at, at] == pytest.approx(merged.m2[at], rel=1e-7)
    r = co.correlation()
    assert np.allclose(r, r.T, equal_nan=True)


def test_a_large_mean_does_not_hide_a_small_variance() -> None:
    values = (1e9 + np.random.default_rng(0).normal(size=(100_000, 1))).astype(np.float64)
    merged = Moments.of(values[:1])
    for start in range(1, len(values), 9999):
        merged = merged.merge(Moments.of(values[start : start + 9999]))
    assert merged.m2[0] / (len(values) - 1) == pytest.approx(values.var(ddof=1), rel=1e-6)


@pytest.mark.parametrize("distinct", [0, 1, 4000, 100_000, 1_000_000])
def test_distinct_counts(distinct: int) -> None:
    counter = Distinct()
    values = np.arange(distinct, dtype=np.int64)
    for part in np.array_split(values, 7):
        counter.update(mix(part))
        counter.update(mix(part[::-1]))
    tolerance = 0 if distinct < 4096 else 0.06 * distinct
    assert abs(counter.estimate() - distinct) <= tolerance


def test_signed_zeros_are_one_value() -> None:
    assert len(set(float_hashes(np.array([0.0, -0.0], np.float32)).tolist())) == 1


def test_rare_categories_are_forgotten_within_the_stated_error() -> None:
    random = np.random.default_rng(0)
    draws = np.minimum(random.zipf(1.3, 60_000), 10**9)
    parts = []
    for draw in np.array_split(draws, 4):
        part = CategoryCounts(200)
        for block in np.array_split(draw, 10):
            values, counts = np.unique(block, return_counts=True)
            table = np.zeros((len(values), 4), dtype=np.int64)
            table[:, 0] = counts
            part.update([str(value) for value in values], table)
        parts.append(part)
    merged = parts[0]
    for part in parts[1:]:
        merged.merge(part)
    assert len(merged.values) <= 400
    true = dict(zip(*np.unique(draws, return_counts=True), strict=True))
    values, counts = merged.ordered()
    for value, row in zip(values[:50], counts[:50], strict=True):
        assert true[int(value)] - merged.error <= row.sum() <= true[int(value)]
    expected = sorted(true, key=lambda value: -true[value])[:20]
    assert [int(value) for value in values[:20]] == expected
    assert abs(merged.distinct.estimate() - len(true)) < 0.06 * len(true)


@pytest.mark.parametrize("rows", [1000, 200_000, 3_000_000])
def test_the_sample_is_never_short(rows: int) -> None:
    size = 20_000
    chosen = (mix(np.arange(rows)) <= np.uint64(sample_bound(rows, size))).sum()
    assert chosen >= min(rows, size)
    assert chosen <= max(size * 1.1, min(rows, size))
