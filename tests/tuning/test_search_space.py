"""Search spaces that make no sense are refused at load, with file, line and the nearest valid name."""

from pathlib import Path
from typing import Any

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
  training: {{max_epochs: 5}}
  model: {{factory: "{factory}"}}
  tuning:
    trials: 4
    {more}
    space:
      training.learning_rate: {{loguniform: [1e-4, 0.1]}}
      {setting}
"""
MLP = "pipeline_assets.training.models.mlp:build"
TABM = "pipeline_assets.training.models.tabm:build"


def load(folder: Path, setting: str, more: str = "", factory: str = MLP) -> Any:
    file = folder / "shop" / "defs.yaml"
    file.parent.mkdir()
    file.write_text(TEXT.format(setting=setting, more=more, factory=factory), encoding="utf-8")
    return load_checked_use_case(file).tuning


def test_what_is_right_loads(tmp_path: Path) -> None:
    tuning = load(tmp_path, "model.options.hidden: {choice: [[8], [16, 8]]}", "time_limit: 10m")
    assert tuning.space["training.learning_rate"].values == (1e-4, 0.1)
    assert tuning.space["model.options.hidden"].values == [[8], [16, 8]]
    assert tuning.time_limit.total_seconds() == 600


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        (
            "training.learnin_rate: {uniform: [0.1, 0.2]}",
            "20: tuning.space.training.learnin_rate: there is no setting 'training.learnin_rate'; "
            "did you mean 'training.learning_rate'?",
        ),
        (
            "model.options.droput: {uniform: [0.1, 0.2]}",
            "20: tuning.space.model.options.droput: there is no setting 'model.options.droput'; "
            "did you mean 'model.options.dropout'?",
        ),
        ("features.columns: {choice: [1, 2]}", "'features.columns' is no setting"),
        ("training.monitor: {choice: [roc_auc, log_loss]}", "is not searched: it is what trials"),
        ("training.max_epochs: {integer: [1, 9]}", "is not searched: it is what a trial may cost"),
        ("training.profile: {choice: [true, false]}", "is not searched: it does not decide what"),
        ("training.gradient_clip: {uniform: [2, 1]}", "20: tuning.space.training.gradient_clip: uniform: [2, 1] is no range"),
        ("training.weight_decay: {loguniform: [0, 1]}", "loguniform needs a lowest value above 0"),
        ("training.warmup_share: {uniform: [0, 1.5]}", "training.warmup_share cannot be 1.5"),
        ("training.batch_size: {uniform: [16, 64]}", "is a whole number: integer or choice"),
        ("training.batch_size: {integer: [0, 64]}", "training.batch_size cannot be 0"),
        ("training.patience: {integer: [1.5, 3]}", "20: tuning.space.training.patience.integer[0]"),
        ("training.patience: {choice: [3]}", "choice needs two values"),
        ("training.patience: {choice: [3, 4, 3]}", "choice names a value twice"),
        ("training.patience: {integer: [1, 3], choice: [1, 2]}", "exactly one of"),
        ("training.patience: {}", "exactly one of"),
        ("training.patience: {integr: [1, 3]}", "unknown key 'integr'; did you mean 'integer'?"),
        ("model.options.hidden: {choice: [[8], [8.5]]}", "cannot be [8.5]: expected a list of integer at least 1"),
        ("model.options.dropout: {uniform: [0, 2]}", "cannot be 2.0: expected number at least 0 and below 1"),
        ("model.options.hidden: {choice: [8, 16]}", "cannot be 8: expected a list of integer at least 1"),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_refused(tmp_path: Path, setting: str, expected: str) -> None:
    with pytest.raises(SpecError) as error:
        load(tmp_path, setting)
    assert "defs.yaml:20: tuning.space" in str(error.value)
    assert expected in str(error.value)


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("model.options.members: {uniform: [2, 8]}", "model.options.members is a whole number"),
        (
            "model.options.numeric_embedding: {choice: [none, peridic]}",
            "model.options.numeric_embedding cannot be 'peridic'",
        ),
    ],
)
def test_options_are_those_of_the_declared_factory(
    tmp_path: Path, setting: str, expected: str
) -> None:
    with pytest.raises(SpecError) as error:
        load(tmp_path, setting, factory=TABM)
    assert expected in str(error.value)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("grace_epochs: 6", "17: tuning.grace_epochs: 6 epochs are more than training.max_epochs (5)"),
        ("time_limit: 0s", "17: tuning.time_limit: a time limit is above zero"),
        ("scheduler: ahsa", "17: tuning.scheduler: 'ahsa' is not one of 'asha' or 'none'; did you mean 'asha'?"),
        ("reduction_factor: 1", "17: tuning.reduction_factor"),
        ("resources: {cpus: 0}", "17: tuning.resources.cpus"),
    ],
)  # fmt: skip
def test_a_wrong_budget_is_refused(tmp_path: Path, more: str, expected: str) -> None:
    with pytest.raises(SpecError) as error:
        load(tmp_path, "training.patience: {integer: [1, 3]}", more)
    assert expected in str(error.value)
