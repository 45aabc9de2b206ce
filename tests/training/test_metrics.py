"""Scores while training equal scikit-learn's."""

import numpy as np
import pytest

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


def test_which_score_is_better() -> None:
    assert is_better("roc_auc", 0.7, 0.6) and not is_better("roc_auc", 0.6, 0.6)
    assert is_better("log_loss", 0.6, 0.7) and is_better("log_loss", 9.0, None)


def test_learning_rate_warms_up_and_falls_to_zero() -> None:
    shares = [learning_rate_share(step, 100, 0.1) for step in range(101)]
    assert shares[:10] == pytest.approx([(k + 1) / 10 for k in range(10)])
    assert shares[10] == 1
    assert np.all(np.diff(shares[10:]) < 0) and shares[100] == pytest.approx(0)
    assert learning_rate_share(0, 1, 0.0) == 1
