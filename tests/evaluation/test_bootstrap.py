import time

import numpy as np
import pytest

from pipeline_assets.evaluation import bootstrap
from pipeline_assets.evaluation.bootstrap import differences, estimates, interval, resample
from pipeline_assets.evaluation.metrics import METRICS, Scored


def _rows(seed, size):
    random = np.random.default_rng(seed)
    probabilities = random.beta(1, 4, size)
    labels = (random.random(size) < probabilities).astype(float)
    return labels, probabilities, random


@pytest.mark.parametrize("ties", [False, True])
def test_the_sums_give_what_the_weighted_metrics_give(ties):
    labels, probabilities, random = _rows(0, 1500)
    probabilities = probabilities.round(2) if ties else probabilities
    scored = Scored(labels, probabilities, 0.3)
    weights = random.integers(0, 4, (1500, 5)).astype(np.float32)
    found = bootstrap._Sums(scored).metrics(weights)
    for sample in range(5):
        expected = list(scored.metrics(weights[:, sample]).values())
        np.testing.assert_allclose(found[sample], expected, rtol=2e-5)


def test_groups_of_scores_change_the_area_little():
    labels, probabilities, random = _rows(1, 50_000)
    scored = Scored(labels, probabilities, 0.3)
    weights = random.integers(0, 4, (50_000, 2)).astype(np.float32)
    found = bootstrap._Sums(scored).metrics(weights)
    for sample in range(2):
        expected = list(scored.metrics(weights[:, sample]).values())
        np.testing.assert_allclose(found[sample], expected, atol=5e-4)
        np.testing.assert_allclose(found[sample][0], expected[0], atol=2e-6)


def test_weights_are_poisson():
    from scipy import stats

    table = bootstrap._POISSON
    shares = np.bincount(table.astype(int)) / len(table)
    np.testing.assert_allclose(shares, stats.poisson(1).pmf(np.arange(len(shares))), atol=2e-5)


def test_the_interval_of_the_area_is_as_wide_as_theory_says():
    """Hanley and McNeil 1982; with two normal classes the variance of the area is well known."""
    random = np.random.default_rng(3)
    size = 4000
    labels = (np.arange(size) % 2).astype(float)
    scores = random.normal(size=size) + labels
    probabilities = 1 / (1 + np.exp(-scores))
    scored = Scored(labels, probabilities)
    drawn = resample({"a": scored}, samples=800, seed=0)["a"]
    area = scored.metrics()["roc_auc"]
    found = estimates(scored.metrics(), drawn, 0.95)["roc_auc"]
    q1, q2, n = area / (2 - area), 2 * area**2 / (1 + area), size / 2
    variance = (area * (1 - area) + (n - 1) * (q1 - area**2) + (n - 1) * (q2 - area**2)) / n**2
    assert found.low < area < found.high
    assert found.high - found.low == pytest.approx(2 * 1.96 * np.sqrt(variance), rel=0.1)


def test_intervals_cover_the_truth_as_often_as_they_say():
    truth = 0.7602  # of N(0, 1) against N(1, 1): Phi(1 / sqrt 2)
    covered = 0
    for seed in range(100):
        random = np.random.default_rng(seed)
        labels = (random.random(300) < 0.4).astype(float)
        scored = Scored(labels, 1 / (1 + np.exp(-random.normal(size=300) - labels)))
        drawn = resample({"a": scored}, samples=200, seed=seed)["a"]
        found = interval(scored.metrics()["roc_auc"], drawn[:, 0], 0.9)
        assert found.low is not None and found.high is not None
        covered += found.low <= truth <= found.high
    assert 82 <= covered <= 97


def test_differences_are_paired():
    labels, probabilities, random = _rows(5, 3000)
    near = np.clip(probabilities + random.normal(0, 0.003, 3000), 0, 1)
    scored = {"a": Scored(labels, probabilities), "b": Scored(labels, near)}
    drawn = resample(scored, samples=200, seed=0)
    values = {name: item.metrics() for name, item in scored.items()}
    paired = differences((values["a"], drawn["a"]), (values["b"], drawn["b"]), 0.95)["roc_auc"]
    alone = estimates(values["a"], drawn["a"], 0.95)["roc_auc"]
    assert paired.value == pytest.approx(values["a"]["roc_auc"] - values["b"]["roc_auc"])
    assert (paired.high - paired.low) < 0.2 * (alone.high - alone.low)


def test_same_seed_same_numbers():
    labels, probabilities, _ = _rows(6, 500)
    scored = {"a": Scored(labels, probabilities)}
    first, second = (resample(scored, samples=20, seed=4)["a"] for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert (first != resample(scored, samples=20, seed=5)["a"]).any()


def test_undefined_stays_undefined():
    scored = Scored(np.zeros(10), np.linspace(0, 1, 10))
    drawn = resample({"a": scored}, samples=10, seed=0)["a"]
    assert estimates(scored.metrics(), drawn, 0.95)["roc_auc"].value is None


def test_different_rows_are_refused():
    with pytest.raises(ValueError, match="same rows"):
        resample(
            {"a": Scored(np.zeros(3), np.zeros(3)), "b": Scored(np.zeros(4), np.zeros(4))},
            samples=10,
            seed=0,
        )


@pytest.mark.heavy
def test_500_resamples_of_100000_rows_stay_within_seconds():
    labels, probabilities, _ = _rows(7, 100_000)
    scored = Scored(labels, probabilities)
    start = time.process_time()
    drawn = resample({"a": scored, "b": scored}, samples=500, seed=0)
    assert drawn["a"].shape == (500, len(METRICS))
    assert time.process_time() - start < 10
