import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from pipeline_assets.evaluation.metrics import ECE_BINS, METRICS, Scored


def _rows(seed, size=2000, ties=False):
    random = np.random.default_rng(seed)
    probabilities = random.random(size)
    if ties:
        probabilities = probabilities.round(1)
    labels = (random.random(size) < probabilities).astype(float)
    return labels, probabilities, random.integers(0, 4, size)


def _ece(labels, probabilities, weights):
    total = 0.0
    for number in range(ECE_BINS):
        low, high = number / ECE_BINS, (number + 1) / ECE_BINS
        last = number == ECE_BINS - 1
        inside = (probabilities >= low) & ((probabilities < high) | last)
        mass = weights[inside].sum()
        if mass:
            mean = np.average(probabilities[inside], weights=weights[inside])
            rate = np.average(labels[inside], weights=weights[inside])
            total += mass * abs(mean - rate)
    return total / weights.sum()


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_every_metric_equals_scikit_learn(ties, weighted):
    labels, probabilities, weights = _rows(1, ties=ties)
    weights = weights if weighted else np.ones(len(labels))
    found = Scored(labels, probabilities, 0.4).metrics(weights if weighted else None)
    decided = probabilities >= 0.4
    keywords = {"sample_weight": weights}
    assert found["roc_auc"] == pytest.approx(sk.roc_auc_score(labels, probabilities, **keywords))
    assert found["average_precision"] == pytest.approx(
        sk.average_precision_score(labels, probabilities, **keywords)
    )
    assert found["log_loss"] == pytest.approx(sk.log_loss(labels, probabilities, **keywords))
    assert found["brier"] == pytest.approx(sk.brier_score_loss(labels, probabilities, **keywords))
    assert found["precision"] == pytest.approx(sk.precision_score(labels, decided, **keywords))
    assert found["recall"] == pytest.approx(sk.recall_score(labels, decided, **keywords))
    assert found["f1"] == pytest.approx(sk.f1_score(labels, decided, **keywords))
    # 0.1 * 15 and the like fall on a bin's edge: the oracle must round as the code does.
    if not ties:
        assert found["ece"] == pytest.approx(_ece(labels, probabilities, weights))
    assert list(found) == list(METRICS)


def test_confusion_equals_scikit_learn_and_includes_the_threshold_itself():
    labels, probabilities, _ = _rows(2, ties=True)
    counts = Scored(labels, probabilities, 0.5).confusion()
    expected = sk.confusion_matrix(labels, probabilities >= 0.5).ravel()
    assert (
        counts.true_negative,
        counts.false_positive,
        counts.false_negative,
        counts.true_positive,
    ) == tuple(expected)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=2, max_size=40))
@settings(max_examples=200, deadline=None)
def test_area_is_the_chance_that_a_positive_is_above_a_negative(rows):
    labels = np.array([float(label) for label, _ in rows])
    probabilities = np.array([score / 5 for _, score in rows])
    found = Scored(labels, probabilities).metrics()["roc_auc"]
    positive, negative = probabilities[labels == 1], probabilities[labels == 0]
    if not len(positive) or not len(negative):
        assert np.isnan(found)
        return
    above = (positive[:, None] > negative).mean() + (positive[:, None] == negative).mean() / 2
    assert found == pytest.approx(above)


@pytest.mark.parametrize("only", [0.0, 1.0])
def test_one_class_leaves_the_area_undefined_and_the_rest_defined(only):
    found = Scored(np.full(5, only), np.linspace(0.1, 0.9, 5)).metrics()
    assert np.isnan(found["roc_auc"])
    assert np.isfinite(found["log_loss"]) and np.isfinite(found["brier"])


@pytest.mark.parametrize(
    ("labels", "probabilities", "message"),
    [
        ([], [], "no rows"),
        ([0, 2], [0.1, 0.2], "labels must be 0 or 1"),
        ([0, 1], [0.1, np.nan], "not within"),
        ([0, 1], [0.1, 1.2], "e.g. 1.2 in row 1"),
        ([0, 1], [0.1], "equally"),
    ],
)
def test_unusable_rows_are_refused(labels, probabilities, message):
    with pytest.raises(ValueError, match=message):
        Scored(np.array(labels, float), np.array(probabilities, float))


def test_probabilities_of_zero_and_one_have_a_finite_log_loss():
    assert np.isfinite(Scored(np.array([1.0, 0.0]), np.array([0.0, 1.0])).metrics()["log_loss"])
