"""Alerts, with an instance on SQLite: one line in the log file per failure."""

import json
from collections.abc import Callable, Iterator

import dagster as dg
import pytest

from pipeline_assets.orchestration.alerting import failed_check_alerts, run_failure_alerts
from pipeline_assets.orchestration.resources import Platform
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
    event = next(e for e in result.all_events if e.event_type == dg.DagsterEventType.RUN_FAILURE)
    context = dg.build_run_status_sensor_context(
        sensor_name="run_failure_alerts",
        dagster_event=event,
        dagster_instance=project.instance,
        dagster_run=result.dagster_run,
        resources={"platform": Platform()},
    ).for_run_failure()
    run_failure_alerts(context)
    [alert] = alerts(project)
    assert alert["title"] == "shop_full failed"
    assert "3 rows of postgresql://…@db.example/orders are bad" in alert["body"]
    assert result.run_id in alert["body"]
