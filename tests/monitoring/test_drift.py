"""Drift tests: oracles, no false alarms without drift, detection with it."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from pipeline_assets.monitoring import compare, compare_volume
from pipeline_assets.monitoring.drift import DriftResult, ks_distance, ks_p_value, psi
from pipeline_assets.spec.monitoring import Monitoring
from pipeline_assets.statistics import FeatureStatistics
from pipeline_assets.statistics.partial import Partial
from pipeline_assets.statistics.summary import distribution, summarise

NUMERIC = ["age", "balance", "products"]
THRESHOLDS = Monitoring()


def statistics(
    rows: int, seed: int, *, shift: float = 0.0, missing: float = 0.05, moved: float = 0.0
) -> FeatureStatistics:
    """Customers: `shift` in standard deviations of age and log balance, `moved` from one country."""
    random = np.random.default_rng(seed)
    age = np.clip(random.gamma(12, 3.2, rows) + 11 * shift, 18, 92)
    balance = np.where(
        random.random(rows) < 0.36, 0, np.exp(random.normal(11.4 + shift * 0.3, 0.3, rows))
    )
    age[random.random(rows) < missing] = np.nan
    country = random.choice(
        ["France", "Germany", "Spain"], rows, p=[0.5 - moved, 0.25 + moved, 0.25]
    )
    batch = pa.record_batch(
        {
            "_row_id": random.integers(-(2**63), 2**63 - 1, rows),
            "_split": pa.array(["train"] * rows),
            "label": (random.random(rows) < 0.2).astype(np.float32),
            "age": age.round().astype(np.float32),
            "balance": balance.astype(np.float32),
            "products": random.choice([1, 2, 3, 4], rows, p=[0.5, 0.46, 0.03, 0.01]).astype(
                np.float32
            ),
            "country": pa.array(country.tolist()),
        }
    )
    partial = Partial(NUMERIC, ["country"], limit=8192, bound=2**64 - 1)
    partial.add_file([batch])
    return summarise(partial, vocabulary=1000)


def failed(results: list[DriftResult]) -> set[tuple[str, str]]:
    return {(item.feature, item.test) for item in results if not item.passed}


def test_no_false_alarm_in_100_unshifted_versions() -> None:
    reference = statistics(20_000, seed=1000)
    alarms = [
        failed(compare(reference, statistics(20_000, seed), THRESHOLDS)) for seed in range(100)
    ]
    assert sum(map(len, alarms)) == 0


def test_significance_alone_keeps_its_level() -> None:
    """With size thresholds of almost 0, only p-values decide: 13 tests in 100 versions at 1 %."""
    strict = Monitoring(psi=1e-9, ks=1e-9, missing_share=1e-9, p_value=0.01)
    alarms: dict[str, int] = {}
    for seed in range(100):
        reference = statistics(3_000, seed=5000 + seed)
        for feature, test in failed(compare(reference, statistics(3_000, seed), strict)):
            alarms[f"{feature} {test}"] = alarms.get(f"{feature} {test}", 0) + 1
    assert max(alarms.values(), default=0) <= 6, alarms
    assert sum(alarms.values()) <= 26, alarms


@pytest.mark.parametrize("rows", [200, 1000])
def test_few_rows_raise_no_alarm(rows: int) -> None:
    reference = statistics(20_000, seed=1000)
    relaxed = Monitoring(volume_ratio=1000)
    alarms = [failed(compare(reference, statistics(rows, seed), relaxed)) for seed in range(50)]
    assert sum(map(len, alarms)) <= 1


def test_shifts_are_found_and_named() -> None:
    reference = statistics(20_000, seed=1000)
    for seed in range(10):
        shifted = failed(
            compare(reference, statistics(5_000, seed, shift=0.5), Monitoring(volume_ratio=9))
        )
        assert shifted >= {("age", "ks"), ("age", "psi"), ("balance", "ks")}
        assert not any(feature in ("products", "country") for feature, _ in shifted)
        moved = failed(compare(reference, statistics(20_000, seed, moved=0.2), THRESHOLDS))
        assert ("country", "chi_square") in moved
        assert not any(feature in NUMERIC for feature, _ in moved)
        gaps = failed(compare(reference, statistics(20_000, seed, missing=0.15), THRESHOLDS))
        assert gaps == {("age", "missing_share")}


def test_a_feature_that_is_gone_counts_as_missing() -> None:
    reference, current = statistics(1000, 1).to_dict(), statistics(1000, 2).to_dict()
    current["numeric"] = current["numeric"][1:]
    before, now = (FeatureStatistics.from_dict(each) for each in (reference, current))
    assert ("age", "missing_share") in failed(compare(before, now, THRESHOLDS))


def test_an_empty_feature_is_not_compared_but_its_missing_share_is() -> None:
    before, now = statistics(1000, 1), statistics(1000, 2, missing=1.1)
    assert {item.test for item in compare(before, now, THRESHOLDS) if item.feature == "age"} == {
        "missing_share"
    }
    assert ("age", "missing_share") in failed(compare(before, now, THRESHOLDS))
    assert ("age", "missing_share") in failed(compare(now, before, THRESHOLDS))


@pytest.mark.parametrize(
    ("before", "now", "value", "passed"),
    [
        (100, 100, 1, True),
        (100, 200, 2, True),
        (100, 49, 100 / 49, False),
        (0, 5, float("inf"), False),
        (0, 0, 1, True),
    ],
)
def test_volume(before: int, now: int, value: float, passed: bool) -> None:
    result = compare_volume(before, now, THRESHOLDS)
    assert (result.value, result.passed) == (pytest.approx(value), passed)


@given(st.integers(0, 10_000), st.integers(5, 900), st.integers(5, 900), st.booleans())
def test_ks_equals_scipy(seed: int, rows: int, other_rows: int, tied: bool) -> None:
    random = np.random.default_rng(seed)
    one, other = random.normal(size=rows), random.normal(0.3, 1.2, other_rows)
    if tied:
        one, other = one.round(), other.round()
    expected = scipy.stats.ks_2samp(one, other)
    assert ks_distance(distribution(one), distribution(other)) == pytest.approx(expected.statistic)


def test_ks_of_many_rows_is_within_a_thousandth_and_its_p_value_is_calibrated() -> None:
    random = np.random.default_rng(0)
    one, other = random.lognormal(size=50_000), random.lognormal(0.05, 1, 30_000)
    expected = scipy.stats.ks_2samp(one, other)
    found = ks_distance(distribution(one), distribution(other))
    assert abs(found - expected.statistic) < 2e-3
    exact = scipy.stats.ks_2samp(
        random.normal(size=400), random.normal(0.2, 1, 300), method="exact"
    )
    assert ks_p_value(exact.statistic, 400, 300) == pytest.approx(exact.pvalue, rel=0.15)


def test_psi_of_known_shares() -> None:
    before, now = np.array([5e5, 5e5]), np.array([4e5, 6e5])
    expected = 0.1 * np.log(0.5 / 0.4) + 0.1 * np.log(0.6 / 0.5)
    assert psi(before, now) == pytest.approx(expected, rel=1e-4)
    assert psi(before, before) == 0
    assert np.isfinite(psi(np.array([10.0, 0.0]), np.array([0.0, 10.0])))


def test_chi_square_equals_scipy(tmp_path: Path) -> None:
    reference, current = statistics(4000, 1), statistics(3000, 2, moved=0.02)
    result = next(
        item
        for item in compare(reference, current, THRESHOLDS)
        if (item.feature, item.test) == ("country", "chi_square")
    )
    names = ["France", "Germany", "Spain"]
    table = [
        [{c.value: c.rows for c in each.categorical_of("country").top}[name] for name in names]
        for each in (reference, current)
    ]
    assert result.p_value == pytest.approx(scipy.stats.chi2_contingency(table).pvalue)
    shares = [np.array(row) / sum(row) for row in table]
    assert result.value == pytest.approx(np.abs(shares[0] - shares[1]).sum() / 2)


def test_sentences_name_feature_test_and_numbers() -> None:
    result = DriftResult(
        feature="age", test="ks", value=0.31, threshold=0.1, p_value=1e-9, passed=False
    )
    assert result.sentence == "age: ks 0.31 is above 0.1, p = 1e-09"
