"""Losses equal their definitions, written once more in NumPy or scikit-learn."""

from typing import Any

import numpy as np
import pytest
import torch

from pipeline_assets.training.config import ModelConfig, TrainingConfig, TrainingError
from pipeline_assets.training.losses import RowLosses
from pipeline_assets.training.tasks import TargetScale

RNG = np.random.default_rng(0)
ROWS = 200


def losses(
    output: np.ndarray,
    label: np.ndarray,
    model: dict[str, Any],
    loss: str = "auto",
    options: dict[str, float] | None = None,
    **more: Any,
) -> np.ndarray:
    training = TrainingConfig(loss=loss, loss_options=options or {})  # type: ignore[arg-type]
    of = RowLosses(ModelConfig(**model), training, **more)
    return of(torch.from_numpy(output).float(), torch.from_numpy(label).float()).numpy()


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def test_binary_cross_entropy_and_its_weight() -> None:
    logit, label = RNG.normal(size=ROWS), RNG.integers(0, 2, ROWS)
    p = sigmoid(logit)
    expected = -(3 * label * np.log(p) + (1 - label) * np.log(1 - p))
    found = losses(logit, label, {}, positive_weight=3.0)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize(("gamma", "alpha"), [(0.0, None), (2.0, None), (0.5, 0.25)])
def test_focal(gamma: float, alpha: float | None) -> None:
    logit, label = RNG.normal(size=ROWS) * 3, RNG.integers(0, 2, ROWS)
    p_true = np.where(label == 1, sigmoid(logit), sigmoid(-logit))
    weight = 1.0 if alpha is None else np.where(label == 1, alpha, 1 - alpha)
    expected = -weight * (1 - p_true) ** gamma * np.log(p_true)
    options = {"gamma": gamma} | ({} if alpha is None else {"alpha": alpha})
    np.testing.assert_allclose(
        losses(logit, label, {}, "focal", options), expected, rtol=1e-4, atol=1e-7
    )
    scores = np.stack([-logit / 2, logit / 2], axis=1)
    if alpha is None:
        two = {"task": "multiclass", "classes": 2}
        found = losses(scores, label, two, "focal", options)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_focal_has_finite_slopes_where_all_is_certain(task: str) -> None:
    shape = (4, 2) if task == "multiclass" else (4,)
    output = torch.full(shape, 200.0, requires_grad=True)
    with torch.no_grad():
        if task == "multiclass":
            output[:, 0] = -200
    label = torch.tensor([0.0, 1, 0, 1])
    of = RowLosses(
        ModelConfig(task=task),  # type: ignore[arg-type]
        TrainingConfig(loss="focal", loss_options={"gamma": 0.5}),
    )
    of(output, label).sum().backward()
    assert output.grad is not None and torch.isfinite(output.grad).all()


def test_cross_entropy_and_labels_one_by_one() -> None:
    from sklearn.metrics import log_loss

    score, label = RNG.normal(size=(ROWS, 4)), RNG.integers(0, 4, ROWS)
    model = {"task": "multiclass", "classes": 4}
    p = np.exp(score) / np.exp(score).sum(axis=1, keepdims=True)
    found = losses(score, label, model)
    assert found.shape == (ROWS,)
    assert found.mean() == pytest.approx(log_loss(label, p), rel=1e-5)
    logit, labels = RNG.normal(size=(ROWS, 3)), RNG.integers(0, 2, (ROWS, 3))
    found = losses(logit, labels, {"task": "multilabel", "classes": 3})
    one_by_one = [losses(logit[:, at], labels[:, at], {}) for at in range(3)]
    np.testing.assert_allclose(found, np.mean(one_by_one, axis=0), rtol=1e-5)


def test_labels_have_weights_of_their_own() -> None:
    logit, labels = RNG.normal(size=(ROWS, 5, 2)), RNG.integers(0, 2, (ROWS, 2))
    model = {"task": "multilabel", "classes": 2}
    found = losses(logit, labels, model, positive_weight=[3.0, 0.5])
    one_by_one = [
        losses(logit[:, :, at], labels[:, at], {}, positive_weight=weight)
        for at, weight in enumerate([3.0, 0.5])
    ]
    np.testing.assert_allclose(found, np.mean(one_by_one, axis=0), rtol=1e-5)


def test_regressions_are_measured_in_standard_deviations() -> None:
    target = TargetScale(mean=1000.0, std=50.0)
    output, label = RNG.normal(size=ROWS) * 2, 1000 + 50 * RNG.normal(size=ROWS)
    error = output - (label - 1000) / 50
    model = {"task": "regression"}
    found = losses(output, label, model, target=target)
    np.testing.assert_allclose(found, error**2, rtol=1e-3, atol=1e-5)
    huber = np.where(np.abs(error) <= 0.5, error**2 / 2, 0.5 * (np.abs(error) - 0.25))
    found = losses(output, label, model, "huber", {"delta": 0.5}, target=target)
    np.testing.assert_allclose(found, huber, rtol=1e-3, atol=1e-5)


def test_quantiles() -> None:
    from sklearn.metrics import mean_pinball_loss

    output, label = RNG.normal(size=(ROWS, 3)), RNG.normal(size=ROWS)
    shares = (0.1, 0.5, 0.9)
    found = losses(output, label, {"task": "regression", "quantiles": shares})
    expected = [mean_pinball_loss(label, output[:, at], alpha=q) for at, q in enumerate(shares)]
    assert found.mean() == pytest.approx(np.mean(expected), rel=1e-5)


@pytest.mark.parametrize(
    ("model", "loss"),
    [
        ({}, "focal"),
        ({"task": "multiclass", "classes": 3}, "auto"),
        ({"task": "multilabel", "classes": 3}, "auto"),
        ({"task": "regression"}, "huber"),
        ({"task": "regression", "quantiles": (0.2, 0.8)}, "auto"),
    ],
)
def test_members_are_trained_each_on_its_own(model: dict[str, Any], loss: str) -> None:
    shape = ModelConfig(**model).output_shape
    output = RNG.normal(size=(ROWS, 5, *shape))
    label = RNG.integers(0, 2, (ROWS, 3) if model.get("task") == "multilabel" else ROWS)
    alone = [losses(output[:, member], label, model, loss) for member in range(5)]
    found = losses(output, label, model, loss)
    np.testing.assert_allclose(found, np.mean(alone, axis=0), rtol=1e-5)
    assert losses(output[:0], label[:0], model, loss).shape == (0,)


@pytest.mark.parametrize(
    ("model", "loss", "options", "message"),
    [
        ({}, "focal", {"gama": 1}, "'gama' is unknown to focal; did you mean 'gamma'"),
        ({}, "auto", {"gamma": 1}, "unknown to binary_cross_entropy; known: none"),
        ({}, "focal", {"gamma": -1}, "expected number at least 0"),
        ({}, "focal", {"alpha": 1}, "expected number above 0 and below 1 or none"),
        ({}, "focal", {"alpha": "x"}, "is 'x'; expected number above 0"),
        ({"task": "multiclass"}, "focal", {"alpha": 0.5}, "not for a multiclass label"),
        ({"task": "regression"}, "huber", {"delta": 0}, "expected number above 0"),
    ],
)
def test_mistakes_in_the_options(
    model: dict[str, Any], loss: str, options: dict[str, float], message: str
) -> None:
    with pytest.raises(TrainingError, match=message):
        losses(np.zeros(1), np.zeros(1), model, loss, options)
