"""Training settings that do not fit are refused when the use case loads."""

import dataclasses

import pytest
from pydantic import ValidationError

from pipeline_assets.spec.training import ModelSettings, TrainingSettings
from pipeline_assets.training.config import ModelConfig, TrainingConfig


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": "huber"}, "'huber' does not fit a binary label; fitting: auto, binary_cross"),
        ({"loss": "hinge"}, "auto"),
        ({"loss_options": {"gamma": 2}}, "'gamma' is unknown to auto; known: none"),
        ({"loss": "focal", "loss_options": {"delta": 2}}, "known: gamma, alpha"),
        ({"loss": "focal", "loss_options": {"alpha": 1.5}}, "alpha between 0 and 1"),
        ({"loss": "focal", "positive_weight": "balanced"}, "set loss_options.alpha instead"),
        ({"ddp_static_graph": True, "gradient_accumulation": 2}, "do not go together"),
        ({"precision": "float64"}, "float32"),
        ({"monitor": "rmse"}, "roc_auc"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TrainingSettings.model_validate(settings)


def test_another_task_is_refused_with_what_there_is() -> None:
    with pytest.raises(ValidationError, match=r"not regression; training alone .* TrainingJob"):
        ModelSettings.model_validate({"task": "regression"})


def test_defaults_are_those_of_the_plain_dataclasses() -> None:
    training = TrainingSettings().model_dump()
    assert TrainingConfig(**training) == TrainingConfig()
    assert training.keys() == {field.name for field in dataclasses.fields(TrainingConfig)}
    assert ModelConfig(**ModelSettings().model_dump()) == ModelConfig()
