"""Scores while training equal scikit-learn's."""

import tracemalloc

import numpy as np
import pytest

from pipeline_assets.training.config import ModelConfig
from pipeline_assets.training.metrics import is_better, validation_scores
from pipeline_assets.training.schedule import learning_rate_share


@pytest.mark.parametrize("digits", [1, 2, 7])
@pytest.mark.parametrize("rate", [0.02, 0.5])
def test_scores_equal_sklearn(digits: int, rate: float) -> None:
    from sklearn import metrics

    rng = np.random.default_rng(digits)
    label = (rng.random(999) < rate).astype(np.float32)
    probability = np.round(rng.random(999) * 0.8 + label * 0.1 + 0.02, digits).astype(np.float32)
    scores = validation_scores(label, probability)
    assert scores["roc_auc"] == pytest.approx(metrics.roc_auc_score(label, probability), abs=1e-12)
    expected = metrics.average_precision_score(label, probability)
    assert scores["average_precision"] == pytest.approx(expected, abs=1e-12)
    expected = metrics.log_loss(label, np.clip(probability.astype(float), 1e-7, 1 - 1e-7))
    assert scores["log_loss"] == pytest.approx(expected, abs=1e-9)


def test_one_class_has_no_area() -> None:
    assert np.isnan(validation_scores(np.ones(3), np.array([0.1, 0.2, 0.3]))["roc_auc"])


def test_scores_of_other_tasks_equal_sklearn() -> None:
    from sklearn import metrics

    rng = np.random.default_rng(0)
    label = rng.integers(0, 4, 500)
    p = rng.dirichlet(np.ones(4), 500) * 0.9 + 0.1 * np.eye(4)[label]
    scores = validation_scores(label, p, ModelConfig(task="multiclass", classes=4))
    assert scores["log_loss"] == pytest.approx(metrics.log_loss(label, p), abs=1e-9)
    assert scores["accuracy"] == metrics.accuracy_score(label, p.argmax(axis=1))

    labels = (rng.random((500, 3)) < 0.3).astype(np.float32)
    p = np.clip(rng.random((500, 3)) * 0.7 + labels * 0.2, 0.01, 0.99)
    model = ModelConfig(task="multilabel", classes=3)
    scores = validation_scores(labels, p, model)
    expected = metrics.roc_auc_score(labels, p, average="macro")
    assert scores["roc_auc"] == pytest.approx(expected, abs=1e-12)
    expected = metrics.average_precision_score(labels, p, average="macro")
    assert scores["average_precision"] == pytest.approx(expected, abs=1e-12)
    expected = np.mean([metrics.log_loss(labels[:, at], p[:, at]) for at in range(3)])
    assert scores["log_loss"] == pytest.approx(expected, abs=1e-9)
    labels[:, 1] = 0  # of a label that nothing has there is no area
    areas = [metrics.roc_auc_score(labels[:, at], p[:, at]) for at in (0, 2)]
    assert validation_scores(labels, p, model)["roc_auc"] == pytest.approx(np.mean(areas))

    label, predicted = rng.normal(size=500) * 9, rng.normal(size=500) * 9
    scores = validation_scores(label, predicted, ModelConfig(task="regression"))
    expected = metrics.root_mean_squared_error(label, predicted)
    assert scores["rmse"] == pytest.approx(expected, rel=1e-9)
    expected = metrics.mean_absolute_error(label, predicted)
    assert scores["mae"] == pytest.approx(expected, rel=1e-9)

    shares, predicted = (0.1, 0.5), rng.normal(size=(500, 2)) * 9
    model = ModelConfig(task="regression", quantiles=shares)
    expected = [
        metrics.mean_pinball_loss(label, predicted[:, at], alpha=q) for at, q in enumerate(shares)
    ]
    found = validation_scores(label, predicted, model)["pinball"]
    assert found == pytest.approx(np.mean(expected), rel=1e-9)


def test_which_score_is_better() -> None:
    assert is_better("roc_auc", 0.7, 0.6) and not is_better("roc_auc", 0.6, 0.6)
    assert is_better("log_loss", 0.6, 0.7) and is_better("log_loss", 9.0, None)
    assert is_better("rmse", 0.6, 0.7) and is_better("accuracy", 0.7, 0.6)
    assert not is_better("accuracy", float("nan"), 0.6)


def test_learning_rate_warms_up_and_falls_to_zero() -> None:
    shares = [learning_rate_share(step, 100, 0.1) for step in range(101)]
    assert shares[:10] == pytest.approx([(k + 1) / 10 for k in range(10)])
    assert shares[10] == 1
    assert np.all(np.diff(shares[10:]) < 0) and shares[100] == pytest.approx(0)
    assert learning_rate_share(0, 1, 0.0) == 1


def test_scores_take_few_bytes_a_row_and_equal_sklearn_over_many_pieces() -> None:
    from sklearn import metrics

    rng = np.random.default_rng(0)
    rows = 1_000_000
    label = (rng.random(rows) < 0.3).astype(np.float32)
    # Many ties, and some groups of them larger than a piece.
    probability = np.round(rng.random(rows) ** 3 * 0.7 + label * 0.2, 2).astype(np.float32)
    tracemalloc.start()
    scores = validation_scores(label, probability)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # An order of 8 bytes a row, and pieces of a size of their own.
    assert peak < 8 * rows + (6 << 20)
    expected = metrics.roc_auc_score(label, probability)
    assert scores["roc_auc"] == pytest.approx(expected, abs=1e-12)
    expected = metrics.average_precision_score(label, probability)
    assert scores["average_precision"] == pytest.approx(expected, abs=1e-12)
