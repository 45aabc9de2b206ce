"""Monitoring: what the sensor says and asks for, version after version."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from pipeline_assets.orchestration.resources import environment_of
from tests.orchestration.conftest import Project
from tests.orchestration.published import CHECKS, Publisher, Sensor


@pytest.fixture
def published(make_project: Callable[..., Project], empty_store: Path) -> Publisher:
    """A registered model in use, trained on the published features."""
    publisher = Publisher(make_project())
    publisher.use_store(empty_store)
    publisher.data(1)
    publisher.register(publisher.train())
    return publisher


def retrain_requests(result: dg.SensorResult) -> list[dg.RunRequest]:
    return [r for r in result.run_requests or [] if r.job_name == "churn_retrain"]


def passed(result: dg.SensorResult) -> list[bool]:
    return [event.passed for event in result.asset_events]


def test_data_like_the_model_s_pass_and_ask_for_nothing(published: Publisher) -> None:
    sensor = Sensor(published.project)
    first = sensor.tick()
    assert passed(first) == [True, True] and not first.run_requests
    assert sensor.tick().skip_reason.skip_message == "nothing new was published"
    published.data(2)
    result = sensor.tick()
    assert passed(result) == [True, True]
    assert not result.run_requests
    assert {event.asset_check_key for event in result.asset_events} == set(CHECKS)
    storage = published.project.instance.event_log_storage
    for key in CHECKS:
        records = storage.get_asset_check_execution_history(key, limit=10)
        assert [record.event.asset_check_evaluation.passed for record in records] == [True, True]


def test_missing_statistics_are_requested_once(published: Publisher) -> None:
    sensor = Sensor(published.project)
    sensor.tick()
    published.data(2, statistics=False)
    [request] = sensor.tick().run_requests
    assert request.job_name == "churn_statistics"
    again = sensor.tick()
    assert not again.run_requests and "requested once" in again.skip_reason.skip_message
    published.statistics()
    assert passed(sensor.tick()) == [True, True]
    published.data(3)
    sensor.tick()
    # Features that come back after others had their turn need their statistics anew.
    published.data(2, statistics=False)
    [later] = sensor.tick().run_requests
    assert later.run_key != request.run_key


def test_a_shift_fails_and_requests_one_retraining_with_its_reason(published: Publisher) -> None:
    sensor = Sensor(published.project)
    sensor.tick()
    published.data(2, shift=0.8)
    result = sensor.tick()
    assert passed(result) == [False, False]
    [request] = retrain_requests(result)
    reason = request.tags["pipeline_assets/retrain_reason"]
    assert "age ks 0." in reason and "> 0.1" in reason
    assert request.tags["use_case"] == "churn"
    metadata = result.asset_events[0].metadata
    assert metadata["failed"].value > 0
    assert "| age | ks | 0." in metadata["comparisons"].md_str
    assert "| FAILED |" in metadata["comparisons"].md_str
    assert result.asset_events[0].severity == dg.AssetCheckSeverity.ERROR
    assert sensor.tick().skip_reason.skip_message == "nothing new was published"
    for seed, shift in ((3, 0.8), (4, 1.5)):
        published.data(seed, shift=shift)
        result = sensor.tick()
        assert passed(result) == [False, False] and not result.run_requests


def test_a_new_model_clears_the_failure_and_the_next_one_requests_again(
    published: Publisher,
) -> None:
    sensor = Sensor(published.project)
    sensor.tick()
    published.data(2, shift=0.8)
    assert retrain_requests(sensor.tick())
    model = published.train()
    result = sensor.tick()  # trained, not registered: the old model is still in use
    assert not result.run_requests
    published.register(model)
    result = sensor.tick()
    assert passed(result) == [True, True] and not result.run_requests
    published.data(3, shift=2.0)
    assert len(retrain_requests(sensor.tick())) == 1


def test_retraining_that_is_not_registered_is_not_repeated(published: Publisher) -> None:
    sensor = Sensor(published.project)
    sensor.tick()
    published.data(2, shift=0.8)
    assert retrain_requests(sensor.tick())
    published.train()  # its gate refuses it
    for seed in (3, 4):
        published.data(seed, shift=0.8)
        result = sensor.tick()
        assert passed(result) == [False, False] and not result.run_requests


def test_the_same_failure_after_data_that_passed_is_a_new_one(published: Publisher) -> None:
    sensor = Sensor(published.project)
    sensor.tick()
    published.data(2, shift=0.8)
    [first] = retrain_requests(sensor.tick())  # its run is killed
    published.data(3)
    assert passed(sensor.tick()) == [True, True]
    published.data(2, shift=0.8)
    [second] = retrain_requests(sensor.tick())
    assert second.run_key != first.run_key  # Dagster would drop a used one


def test_data_that_moved_on_during_the_retraining_are_a_new_failure(published: Publisher) -> None:
    sensor = Sensor(published.project)
    sensor.tick()
    published.data(2, shift=0.8)
    assert retrain_requests(sensor.tick())
    model = published.train()
    published.data(3, shift=3.0)
    published.register(model)
    assert len(retrain_requests(sensor.tick())) == 1


def test_features_that_the_newest_model_has_seen_are_not_trained_on_again(
    published: Publisher,
) -> None:
    champion = published.project.current("trained_model")
    published.register(champion, alias="champion")
    sensor = Sensor(published.project)
    sensor.tick()
    published.data(2, shift=0.8)
    published.register(published.train())
    result = sensor.tick()  # the challenger waits for its promotion; the champion stays compared
    assert passed(result) == [False, False] and not result.run_requests
    published.data(3, shift=0.8)
    assert len(retrain_requests(sensor.tick())) == 1


def test_promotion_by_hand_is_noticed(published: Publisher) -> None:
    sensor = Sensor(published.project)
    published.register(published.project.current("trained_model"), alias="champion")
    published.data(2, shift=0.8)
    model = published.train()
    assert passed(sensor.tick()) == [False, False]
    published.register(model, alias="champion")
    assert passed(sensor.tick()) == [True, True]


def test_raw_volume_alone_fails_the_check(published: Publisher) -> None:
    sensor = Sensor(published.project)
    sensor.tick()
    published.publish("raw", "ten times as many", rows=40_000)
    result = sensor.tick()
    assert passed(result) == [False, False]
    assert "raw rows volume 10" in result.asset_events[0].description
    # The model has seen these features: nothing would change by training on them again.
    assert not result.run_requests
    published.data(5, rows=40_000)
    assert len(retrain_requests(sensor.tick())) == 1


def test_a_repeated_tick_asks_with_the_same_key(published: Publisher) -> None:
    sensor = Sensor(published.project)
    sensor.tick()
    published.data(2, shift=0.8)
    first, second = sensor.look(), sensor.look()
    assert [r.run_key for r in first.run_requests] == [r.run_key for r in second.run_requests]
    assert first.cursor == second.cursor
    sensor.tick()
    restarted = Sensor(published.project)  # nothing but the cursor is left
    restarted.cursor = sensor.cursor
    assert restarted.tick().skip_reason
    for broken in ("", "not json", json.dumps({"versions": {}, "failing": True}), "[]"):
        assert passed(sensor.look(broken)) == [False, False]


def test_switched_off_retraining_and_new_thresholds(published: Publisher) -> None:
    published.project.edit(lambda a: a["monitoring"].update(retrain=False))
    sensor = Sensor(published.project)
    sensor.tick()
    published.data(2, shift=0.8)
    result = sensor.tick()
    assert passed(result) == [False, False] and not result.run_requests
    published.project.edit(lambda a: a["monitoring"].update(ks=0.9, psi=9.0))
    assert passed(sensor.tick()) == [True, True]


@pytest.mark.parametrize("how", ["tag", "assets", "everything"])
def test_a_run_in_progress_is_waited_for(published: Publisher, how: str) -> None:
    sensor = Sensor(published.project)
    sensor.tick()
    published.data(2, shift=0.8)
    instance = published.project.instance
    selection = {dg.AssetKey(["churn", "features"])}
    run = instance.create_run_for_job(
        published.project.definitions().get_implicit_global_asset_job_def(),
        status=dg.DagsterRunStatus.STARTED,
        tags={"use_case": "churn"} if how == "tag" else {},
        asset_selection=selection if how == "assets" else None,
    )
    assert run.run_id in sensor.tick().skip_reason.skip_message
    instance.report_run_failed(run)
    assert passed(sensor.tick()) == [False, False]


def test_runs_of_other_use_cases_are_not_waited_for(published: Publisher) -> None:
    instance = published.project.instance
    instance.create_run_for_job(
        published.project.definitions().get_implicit_global_asset_job_def(),
        status=dg.DagsterRunStatus.STARTED,
        tags={"use_case": "fraud"},
    )
    assert passed(Sensor(published.project).tick()) == [True, True]


def test_nothing_published_no_model_and_broken_stores_are_reasons_not_errors(
    make_project: Callable[..., Project],
    empty_store: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    publisher = Publisher(make_project())
    sensor = Sensor(publisher.project)

    def reason() -> str:
        result = sensor.tick()
        assert result.skip_reason and not result.run_requests
        return result.skip_reason.skip_message

    assert "published yet" in reason()
    publisher.data(1)
    assert "published yet" in reason()
    model = publisher.train()
    assert "no model 'churn' is registered yet" in reason()  # no store at all
    store = Path(publisher.tracking_uri.removeprefix("sqlite:///"))
    publisher.use_store(empty_store)
    assert "no model 'churn' is registered yet" in reason()
    store.write_bytes(b"this is no database at all" * 100)
    assert "not a database" in reason()
    broken = tmp_path / "broken.db"  # MLflow has not opened this one before
    broken.write_bytes(b"this is no database at all" * 100)
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{broken}")
        environment_of.cache_clear()
        assert f"the MLflow store {broken} refused to open: file is not a database" in reason()
    environment_of.cache_clear()
    publisher.use_store(empty_store)
    publisher.register(model)
    folder = publisher.project.home / "data" / "lake" / "churn" / "features" / "all"
    pointer = (folder / "current.json").read_bytes()
    (folder / "current.json").write_text("{")
    assert "current.json" in reason()
    (folder / "current.json").write_bytes(pointer)
    for file in model.local_path().iterdir():
        file.unlink()
    assert reason()


def test_checks_run_by_hand_say_what_the_sensor_says(published: Publisher) -> None:
    project = published.project
    selection = dg.AssetSelection.checks(*CHECKS)

    def by_hand() -> dict[dg.AssetCheckKey, dg.AssetCheckEvaluation]:
        definitions = dg.Definitions.merge(
            project.definitions(),
            dg.Definitions(jobs=[dg.define_asset_job("by_hand", selection=selection)]),
        )
        result = definitions.resolve_job_def("by_hand").execute_in_process(
            instance=project.instance
        )
        assert result.success
        return {e.asset_check_key: e for e in result.get_asset_check_evaluations()}

    assert [by_hand()[key].passed for key in CHECKS] == [True, True]
    published.data(2, shift=0.8, statistics=False)
    found = by_hand()
    assert [found[key].passed for key in CHECKS] == [False, False]
    assert found[CHECKS[0]].severity == dg.AssetCheckSeverity.WARN
    assert "not compared: feature_statistics" in found[CHECKS[0]].description
    published.statistics()
    found = by_hand()
    told = Sensor(project).tick().asset_events
    for key, event in zip(CHECKS, told, strict=True):
        assert found[key].description == event.description
        assert found[key].severity == event.severity == dg.AssetCheckSeverity.ERROR
        assert not found[key].passed


def test_a_tick_without_news_is_quick_and_imports_no_mlflow(published: Publisher) -> None:
    sensor = Sensor(published.project)
    sensor.tick()
    script = """
import json, sys, time
from pathlib import Path
import dagster as dg
from tests.orchestration.conftest import Project
from tests.orchestration.published import Sensor
home, cursor = Path(sys.argv[1]), sys.argv[2]
with dg.DagsterInstance.ephemeral() as instance:
    project = Project(home=home, file=home / "defs" / "churn" / "defs.yaml", instance=instance)
    definitions = project.definitions()
    context = dg.build_sensor_context(
        instance=instance, cursor=cursor, definitions=definitions,
        resources={"platform": definitions.resources["platform"]},
    )
    sensor = definitions.get_repository_def().get_sensor_def("churn_monitoring")
    result = sensor(context)
    best = 9.0
    for _ in range(5):
        started = time.perf_counter()
        result = sensor(context)
        best = min(best, time.perf_counter() - started)
heavy = sorted({"mlflow", "pyspark", "torch", "pysail", "scipy", "sqlalchemy.dialects.mysql"} & set(sys.modules))
print(json.dumps({"reason": result.skip_message, "seconds": best, "heavy": heavy}))
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(published.project.home), sensor.cursor],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["reason"] == "nothing new was published"
    assert not {"mlflow", "pysail", "torch"} & set(found["heavy"])
    assert found["seconds"] < 0.25
