"""What all stages share: which errors are retried, what a failed stage leaves, check names."""

from pathlib import Path

import dagster as dg
import pytest
import yaml

from pipeline_assets.contract.rules import rules_of
from pipeline_assets.lake import Lake, LakeError
from pipeline_assets.orchestration import failures
from pipeline_assets.orchestration.failures import is_transient, raise_for_dagster
from pipeline_assets.orchestration.metadata import check_name
from pipeline_assets.orchestration.stage import StageRun
from pipeline_assets.shards import ShardUnreachable
from pipeline_assets.spec import Column, Contract
from pipeline_assets.training.config import TrainingError, TrainingInterrupted
from tests.orchestration.conftest import Project, failure_text
from tests.orchestration.tiny_use_case import ENVIRONMENT, at_home, write_project


def test_the_cause_decides_whether_an_error_is_transient() -> None:
    def wrapped(cause: Exception) -> LakeError:
        error = LakeError("cannot write s3://lake/x: see the cause")
        error.__cause__ = cause
        return error

    assert is_transient(wrapped(ConnectionResetError()))
    assert is_transient(wrapped(TimeoutError()))
    assert not is_transient(wrapped(OSError(28, "No space left on device")))
    assert not is_transient(LakeError("cannot write"))
    assert is_transient(TrainingInterrupted("the store of the shards does not answer"))
    assert is_transient(ShardUnreachable("the store of the shards does not answer"))
    assert not is_transient(TrainingError("the train split has no rows"))


def test_what_cannot_be_discarded_does_not_hide_the_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise OSError("the store is away")

    staged = Lake(str(tmp_path)).dataset("shop", "raw").stage()
    monkeypatch.setattr(staged, "discard", refuse)
    run = object.__new__(StageRun)
    run.context = dg.build_asset_context()
    run._open = [staged]
    run.leave_open(keep=False)


def test_every_rule_has_a_check_name_of_its_own() -> None:
    names = ["年齢", "性別", "tax (net)", "tax [net]", "tax_net"]
    contract = Contract(key=["年齢"], columns=[Column(name=name, type="int64") for name in names])
    rules = [rule.name for rule in rules_of(contract)]
    assert len({check_name(rule) for rule in rules}) == len(rules)
    assert check_name("Age.range") == "Age__range"


def test_a_run_that_fails_after_it_tracked_something_has_failed_in_mlflow(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    file = write_project(tmp_path)
    with at_home(tmp_path), dg.DagsterInstance.ephemeral(tempdir=str(tmp_path)) as instance:
        project = Project(home=tmp_path, file=file, instance=instance)
        project.edit(lambda a: a["evaluation"]["gate"].update(minimum=0.9999))
        result = project.run()
        assert not result.success
        store = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/data/mlflow/mlflow.db")
        experiment = store.get_experiment_by_name("tiny")
        assert experiment is not None
        [run] = store.search_runs([experiment.experiment_id])
        assert run.data.tags["dagster_run_id"] == result.run_id
        assert run.info.status == "FAILED"


def test_no_password_of_a_source_reaches_the_log_of_a_run(tmp_path: Path) -> None:
    file = write_project(tmp_path)
    with at_home(tmp_path), dg.DagsterInstance.ephemeral(tempdir=str(tmp_path)) as instance:
        project = Project(home=tmp_path, file=file, instance=instance)
        project.edit(lambda a: a["source"].update(uri="warehouse://shop:hunter2@host/in"))
        result = project.run(asset_selection=[dg.AssetKey(["tiny", "raw"])])
        assert "warehouse://…@host/in" in failure_text(result)
        assert "hunter2" not in "".join(str(entry) for entry in instance.all_logs(result.run_id))


@pytest.mark.parametrize("kind", [ValueError, ConnectionError, KeyError])
def test_a_password_in_the_cause_of_an_error_is_not_shown_either(kind: type[Exception]) -> None:
    error = kind("see the cause")
    error.__cause__ = OSError("cannot open sftp://shop:hunter2@host/in")
    with pytest.raises((dg.Failure, dg.RetryRequested)) as caught:
        raise_for_dagster(error, retry_number=0)
    assert caught.value.__cause__ is None and caught.value.__suppress_context__


def test_an_mlflow_server_that_is_away_is_retried_and_then_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_project(tmp_path)
    monkeypatch.setattr(failures, "FIRST_RETRY_SECONDS", 0.01)
    server = {"mlflow": {"tracking_uri": "http://shop:hunter2@127.0.0.1:9"}}
    (tmp_path / "environment.yaml").write_text(yaml.safe_dump({**ENVIRONMENT, **server}))
    with at_home(tmp_path), dg.DagsterInstance.ephemeral(tempdir=str(tmp_path)) as instance:
        result = Project(home=tmp_path, file=file, instance=instance).run()
        assert not result.success
        made = {e.asset_key.path[-1] for e in result.get_asset_materialization_events()}
        assert {"raw", "features", "tensor_shards"} <= made, "what needs no MLflow is made"
        retries = [e for e in result.all_events if e.event_type_value == "STEP_RESTARTED"]
        assert len(retries) == failures.MAX_RETRIES
        [failed] = [e.step_failure_data for e in result.all_events if e.is_step_failure]
        told = failed.user_failure_data.description
        assert "http://…@127.0.0.1:9 does not answer" in told
        assert "mlflow.tracking_uri" in told
        assert failed.error.cause is None, "a second stack trace below the sentence"
        assert "hunter2" not in "".join(str(entry) for entry in instance.all_logs(result.run_id))
