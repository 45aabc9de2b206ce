"""Alerts, with an instance on SQLite: one line in the log file per failure."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest
import yaml

from pipeline_assets.monitoring.outbox import MOST_TRIES
from pipeline_assets.orchestration.alerting import failed_check_alerts, run_failure_alerts
from pipeline_assets.orchestration.resources import Platform, environment_of
from tests.orchestration.conftest import Project

SECRET = "hunter2"


@pytest.fixture
def project(make_project: Callable[..., Project]) -> Iterator[Project]:
    project = make_project()
    folder = project.home / "dagster"
    folder.mkdir()
    with dg.DagsterInstance.local_temp(str(folder)) as instance:
        project.instance = instance
        yield project


@dg.asset(key=["shop", "orders"], check_specs=[
    dg.AssetCheckSpec("fresh", asset=["shop", "orders"]),
    dg.AssetCheckSpec("pretty", asset=["shop", "orders"]),
])  # fmt: skip
def orders(context: dg.AssetExecutionContext) -> Iterator[object]:
    """Fails the check, or itself, as the run's tag says."""
    passed = context.run.tags.get("fresh") != "no"
    yield dg.AssetCheckResult(
        check_name="fresh",
        passed=passed,
        description=f"read from postgresql://shop:{SECRET}@db.example/orders: a day old",
    )
    yield dg.AssetCheckResult(
        check_name="pretty", passed=False, severity=dg.AssetCheckSeverity.WARN
    )
    if context.run.tags.get("fails"):
        raise dg.Failure(f"3 rows of postgresql://shop:{SECRET}@db.example/orders are bad")
    yield dg.MaterializeResult()


DEFINITIONS = dg.Definitions(
    assets=[orders],
    jobs=[dg.define_asset_job("shop_full", selection="*")],
    sensors=[failed_check_alerts, run_failure_alerts],
    resources={"platform": Platform()},
    executor=dg.in_process_executor,
)


def run(project: Project, **tags: str) -> dg.ExecuteInProcessResult:
    return DEFINITIONS.resolve_job_def("shop_full").execute_in_process(
        instance=project.instance, tags=tags, raise_on_error=False
    )


def alerts(project: Project) -> list[dict]:
    file = project.home / "data" / "alerts.log"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def tick(project: Project, cursor: str | None) -> str:
    with dg.build_sensor_context(
        instance=project.instance,
        cursor=cursor,
        definitions=DEFINITIONS,
        resources={"platform": Platform()},
    ) as context:
        result = failed_check_alerts(context)
    assert isinstance(result, dg.SensorResult) and result.cursor
    return result.cursor


def report(project: Project, result: dg.ExecuteInProcessResult) -> None:
    """What the daemon does after a failed run."""
    event = next(e for e in result.all_events if e.event_type == dg.DagsterEventType.RUN_FAILURE)
    context = dg.build_run_status_sensor_context(
        sensor_name="run_failure_alerts",
        dagster_event=event,
        dagster_instance=project.instance,
        dagster_run=result.dagster_run,
        resources={"platform": Platform()},
    ).for_run_failure()
    run_failure_alerts(context)


def test_each_failed_check_is_told_once(project: Project) -> None:
    run(project, fresh="no")
    cursor = tick(project, None)
    assert tick(project, cursor) and alerts(project) == []  # history
    failing = run(project, fresh="no")
    run(project)
    cursor = tick(project, cursor)
    [alert] = alerts(project)
    assert alert["title"] == "check fresh of shop/orders failed"
    assert "a day old" in alert["body"] and failing.run_id in alert["body"]
    assert SECRET not in json.dumps(alerts(project))
    for _ in range(3):
        cursor = tick(project, cursor)
    assert len(alerts(project)) == 1
    run(project, fresh="no"), run(project, fresh="no")
    cursor = tick(project, cursor)
    tick(project, cursor)
    assert len(alerts(project)) == 3


def test_failures_reported_by_a_sensor_are_told(project: Project) -> None:
    cursor = tick(project, None)
    project.instance.report_runless_asset_event(
        dg.AssetCheckEvaluation(
            asset_key=dg.AssetKey(["shop", "orders"]),
            check_name="fresh",
            passed=False,
            description="age ks 0.3 > 0.1",
        )
    )
    tick(project, tick(project, cursor))
    [alert] = alerts(project)
    assert alert["body"] == "age ks 0.3 > 0.1\nrun of a sensor"


def test_an_evaluation_that_becomes_visible_late_is_told(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two runs: the one that began first fails its check last, and the clocks differ."""
    cursor = tick(project, None)
    run(project, fresh="no")
    state = json.loads(tick(project, cursor))
    state["newest"] += 60  # the other host's clock is ahead
    run(project, fresh="no")
    tick(project, json.dumps(state))
    assert len(alerts(project)) == 2


def test_a_failed_run_is_told_with_the_domain_s_message(project: Project) -> None:
    result = run(project, fails="yes")
    report(project, result)
    [alert] = alerts(project)
    assert alert["title"] == "shop_full failed"
    assert "3 rows of postgresql://…@db.example/orders are bad" in alert["body"]
    assert result.run_id in alert["body"]
    tick(project, tick(project, None))
    assert len(alerts(project)) == 1


@pytest.fixture
def second_channel(project: Project, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A second log file, in a folder that cannot be made because a file of that name is in the way."""
    away = project.home / "away"
    away.write_text("")
    log = away / "alerts.log"
    channels = [f"logfile://{project.home}/data/alerts.log", f"logfile://{log}"]
    file = project.home / "two_channels.yaml"
    file.write_text(yaml.safe_dump({"alerts": {"channels": channels}}))
    monkeypatch.setenv("PIPELINE_ENV", str(file))
    environment_of.cache_clear()
    yield log
    environment_of.cache_clear()


def test_what_a_channel_did_not_get_is_sent_when_it_is_back(
    project: Project, second_channel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cursor = tick(project, None)
    failed = run(project, fresh="no", fails="yes")
    report(project, failed)
    cursor = tick(project, cursor)
    assert len(alerts(project)) == 2, "the run and the check, on the channel that works"
    second_channel.parent.unlink()
    cursor = tick(project, cursor)
    assert not second_channel.exists(), "a pause after each try"
    now = time.time()
    monkeypatch.setattr("pipeline_assets.orchestration.alerting.time.time", lambda: now + 3600)
    for _ in range(2):
        cursor = tick(project, cursor)
    told = [json.loads(line)["title"] for line in second_channel.read_text().splitlines()]
    assert sorted(told) == ["check fresh of shop/orders failed", "shop_full failed"]
    assert len(alerts(project)) == 2, "nothing twice"
    settled = project.instance.get_run_by_id(failed.run_id)
    assert settled is not None and settled.tags["pipeline_assets/alert"] == "delivered"


def test_an_alert_that_no_try_delivers_is_an_error_in_the_log(
    project: Project,
    second_channel: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    now = time.time()
    monkeypatch.setattr("pipeline_assets.orchestration.alerting.time.time", lambda: now)
    cursor = tick(project, None)
    failed = run(project, fails="yes")
    report(project, failed)
    for _ in range(MOST_TRIES):
        now += 24 * 3600
        cursor = tick(project, cursor)
    said = capfd.readouterr().err
    assert "ERROR - alert lost" in said and "2 (logfile)" in said and "shop_full failed" in said
    assert json.loads(cursor)["waiting"] == {}
    settled = project.instance.get_run_by_id(failed.run_id)
    assert settled is not None and settled.tags["pipeline_assets/alert"] == "lost"
