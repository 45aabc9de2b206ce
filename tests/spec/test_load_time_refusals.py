"""Settings of model and training that cannot work are refused when the use case loads, at their line."""

from pathlib import Path

import pytest

from pipeline_assets.features.use_cases import load_checked_use_case
from pipeline_assets.spec.loader import SpecError

TEXT = """\
type: pipeline_assets.MLPipeline
attributes:
  source: {{uri: landing, format: csv}}
  contract:
    key: [id]
    columns:
      - {{name: id, type: int64}}
      - {{name: amount, type: float64}}
      - {{name: label, type: int32, allowed: [0, 1]}}
  features:
    columns: [{{name: amount, kind: numeric}}]
    label: {{column: label}}
  model:
    factory: {factory}
    options:
      {option}
  training:
    batch_size: 256
    {training}
"""
MODELS = "pipeline_assets.training.models."
OWN = """\
from dataclasses import dataclass
from typing import Annotated

import no_such_module_that_would_fail_to_import
from pipeline_assets.option_types import Bounds, Count
from pipeline_assets.training.models.options import read_options

Own = int


@dataclass
class OwnOptions:
    layers: Count = 3
    slope: Annotated[float, Bounds(above=0, at_most=1)] | None = None
    names: tuple[str, ...] = ()
    other: Own = 1


def build(config):
    return read_options(config.options, OwnOptions, config.factory)


def without_config():
    return None


def of_two(config, other):
    return None


def freely(config):
    return config.options["anything"]
"""


def refused(folder: Path, **parts: str) -> str:
    with pytest.raises(SpecError) as error:
        load(folder, **parts)
    return str(error.value)


def load(
    folder: Path, *, factory: str = "mlp:build", option: str = "dropout: 0.1", training: str = ""
) -> None:
    file = folder / "shop" / "defs.yaml"
    file.parent.mkdir()
    factory = factory if "." in factory or factory.startswith("os:") else MODELS + factory
    file.write_text(TEXT.format(factory=factory, option=option, training=training))
    load_checked_use_case(file)


@pytest.mark.parametrize(
    ("factory", "option", "expected"),
    [
        ("tabm:build", "memberz: 8", "models.tabm:build has no option 'memberz'; did you mean 'members'?"),
        ("tabm:build", "numeric_embedding: fourier", "'fourier' does not fit; expected 'piecewise_linear' or"),
        ("mlp:build", "dropout: 1.5", "1.5 does not fit; expected number at least 0 and below 1"),
        ("tabm:build", "members: 0", "0 does not fit; expected integer at least 1"),
        ("tabm:build", "hidden: []", "[] does not fit; expected a list of integer at least 1, at least 1 in number"),
        ("mlp:build", "hidden: [8, 0]", "[8, 0] does not fit; expected a list of integer at least 1"),
        ("mlp:build", 'hidden: "96"', "'96' does not fit; expected a list of"),
        ("mlp:build", "bins: 1", "1 does not fit; expected integer at least 2"),
        ("mlp:build", "bins: true", "True does not fit"),
        ("resnet:build", "hidden_factor: .nan", "nan does not fit; expected number above 0"),
    ],
)  # fmt: skip
def test_an_option_that_the_factory_would_refuse(
    tmp_path: Path, factory: str, option: str, expected: str
) -> None:
    message = refused(tmp_path, factory=factory, option=option)
    assert f"defs.yaml:16: model.options.{option.partition(':')[0]}: " in message
    assert expected in message


@pytest.mark.parametrize(
    ("training", "expected"),
    [
        ("learning_rate: .inf", "19: training.learning_rate: expected a finite number (got inf)"),
        ("positive_weight: -3", "19: training.positive_weight: -3 is neither a number above 0 nor 'balanced' or 'none'"),
        ("positive_weight: 0", "19: training.positive_weight: 0 is neither"),
        ("positive_weight: balance", "'balance' is neither"),
        ("gradient_accumulation: 1000", "19: training.gradient_accumulation: 1000 micro-batches of 256 rows"),
        ("patience: 3\n    monitor: roc_auc\n    loss: quantile", "21: training.loss: loss 'quantile' does not fit"),
        ("loss: focal\n    loss_options:\n      gama: 2", "21: training.loss_options.gama: 'gama' is unknown to focal"),
        ("max_restarts: 3", "19: training.max_restarts: unknown key 'max_restarts'; this key belongs to `training` in the environment file (PIPELINE_ENV)"),
        ("launcher: spark", "this key belongs to `training` in the environment file (PIPELINE_ENV)"),
        ("xylophone: 1", "unknown key 'xylophone'; known keys: batch_size"),
        ("max_epochs: many", "19: training.max_epochs: expected a whole number (got 'many')"),
        ("max_epochs: 0", "19: training.max_epochs: expected a value of at least 1 (got 0)"),
    ],
)  # fmt: skip
def test_a_setting_of_training(tmp_path: Path, training: str, expected: str) -> None:
    message = refused(tmp_path, training=training)
    assert expected in message
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize(
    ("tuning", "expected"),
    [
        ("{space: {}}", "20: tuning.space: holds 0; at least 1 must be given"),
        ("{space: {training.patience: [1, 2]}}", "20: tuning.space.training.patience: expected a mapping of keys"),
        ("[]", "20: tuning: expected a mapping of keys to values"),
    ],
)  # fmt: skip
def test_forms_are_told_in_plain_words(tmp_path: Path, tuning: str, expected: str) -> None:
    assert expected in refused(tmp_path, training=f"patience: 2\n  tuning: {tuning}")


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "own_package").mkdir()
    (tmp_path / "own_package/__init__.py").write_text("")
    (tmp_path / "own_package/network.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    return "own_package.network"


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("layers: 0", "0 does not fit; expected integer at least 1"),
        ("slope: 2", "2 does not fit; expected number above 0 and at most 1 or none"),
        ("names: [1]", "[1] does not fit; expected a list of text"),
        ("layerz: 1", "did you mean 'layers'?"),
    ],
)
def test_a_factory_of_ones_own_is_judged_without_importing_it(
    tmp_path: Path, own_module: str, option: str, expected: str
) -> None:
    assert expected in refused(tmp_path, factory=f"{own_module}:build", option=option)


@pytest.mark.parametrize("option", ["slope: null", "slope: 0.5", "names: [a]", "other: x"])
def test_what_only_running_a_factory_would_tell_loads(
    tmp_path: Path, own_module: str, option: str
) -> None:
    load(tmp_path, factory=f"{own_module}:build", option=option)


def test_a_factory_that_reads_its_options_freely_loads(tmp_path: Path, own_module: str) -> None:
    load(tmp_path, factory=f"{own_module}:freely", option="whatever: 1")


@pytest.mark.parametrize("function", ["os:getcwd", "own:without_config", "own:of_two"])
def test_a_function_that_builds_no_network(tmp_path: Path, own_module: str, function: str) -> None:
    message = refused(tmp_path, factory=function.replace("own", own_module), option="a: 1")
    assert "defs.yaml:14: model.factory: " in message
    assert "is no model factory: one is a function of a ModelConfig" in message
