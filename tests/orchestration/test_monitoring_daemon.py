"""The whole chain under a real daemon: shifted data are noticed, trained on, and pass."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest

from tests.orchestration.conftest import Project, failure_text
from tests.orchestration.published import CHECKS, Publisher

ROOT = Path(__file__).parents[2]
LOCATION = """
from pathlib import Path
import dagster as dg
from pipeline_assets.orchestration.alerting import failed_check_alerts, run_failure_alerts
from pipeline_assets.orchestration.definitions import use_case_definitions
from pipeline_assets.orchestration.resources import Engine, Platform
from pipeline_assets.features.use_cases import load_checked_use_case

defs = dg.Definitions.merge(
    use_case_definitions(load_checked_use_case(Path(__file__).parent / "defs" / "churn" / "defs.yaml")),
    dg.Definitions(
        resources={"platform": Platform(), "engine": Engine()},
        executor=dg.in_process_executor,
        sensors=[failed_check_alerts, run_failure_alerts],
    ),
)
"""
DATA = [dg.AssetKey(["churn", asset]) for asset in ("raw", "validated", "rejected", "features")]


@contextmanager
def daemon(project: Project, home: Path) -> Iterator[Path]:
    """`dagster-daemon run` over the project, stopped at the end."""
    location = project.home / "location.py"
    location.write_text(LOCATION)
    log = project.home / "daemon.log"
    environment = {
        **os.environ,
        "DAGSTER_HOME": str(home),
        "PIPELINE_HOME": str(project.home),
        "PYTHONPATH": str(ROOT),
    }
    with log.open("a") as stream:
        process = subprocess.Popen(
            [str(Path(sys.executable).parent / "dagster-daemon"), "run", "-f", str(location)],
            cwd=project.home,
            env=environment,
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
        try:
            yield log
        finally:
            process.terminate()
            process.wait(timeout=60)


def until(condition: Callable[[], object], log: Path, seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, log.read_text()[-4000:]
        time.sleep(1)


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """An instance that other processes see, too."""
    home = tmp_path / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    with dg.DagsterInstance.from_config(str(home)) as found:
        yield found


def verdicts(instance: dg.DagsterInstance) -> list[list[bool]]:
    """What the sensor said about each check, the newest first."""
    history = instance.event_log_storage.get_asset_check_execution_history
    return [[r.evaluation.passed for r in history(key, limit=50) if not r.run_id] for key in CHECKS]


def runs(instance: dg.DagsterInstance, job: str) -> list[dg.DagsterRun]:
    return list(instance.get_runs(dg.RunsFilter(job_name=f"churn_{job}")))


def alerts(project: Project) -> list[str]:
    """Titles of the alerts sent."""
    file = project.home / "data" / "alerts.log"
    lines = file.read_text().splitlines() if file.exists() else []
    return [json.loads(line)["title"] for line in lines]


@pytest.mark.heavy
@pytest.mark.timeout(900)
def test_the_daemon_records_checks_launches_one_run_and_alerts(
    make_project: Callable[..., Project], empty_store: Path, instance: dg.DagsterInstance
) -> None:
    """The data are made up, so the retraining fails at once: its alert is looked at as well."""
    publisher = Publisher(make_project({"monitoring": {"sensor_seconds": 5}}))
    publisher.use_store(empty_store)
    publisher.data(1)
    publisher.register(publisher.train())
    project, home = publisher.project, publisher.project.home / "dagster"
    with daemon(project, home) as log:
        until(lambda: verdicts(instance) == [[True], [True]], log)
        time.sleep(35)  # the alerting sensors have looked: what fails from now on is news
    assert alerts(project) == []
    publisher.data(2, shift=0.8)
    with daemon(project, home) as log:  # another process, which has the cursors only
        until(lambda: verdicts(instance) == [[False, True]] * 2, log)
        until(lambda: runs(instance, "retrain"), log)
        until(lambda: len(alerts(project)) >= 3, log)
        publisher.data(3, shift=1.5)
        until(lambda: verdicts(instance) == [[False, False, True]] * 2, log)
        time.sleep(35)
    [retraining] = runs(instance, "retrain")
    assert "age ks" in retraining.tags["pipeline_assets/retrain_reason"]
    assert retraining.status == dg.DagsterRunStatus.FAILURE
    assert not runs(instance, "statistics")
    found = alerts(project)
    assert found.count("churn_retrain failed") == 1
    for key in CHECKS:  # once for each version that failed
        assert found.count(f"check {key.name} of {key.asset_key.to_user_string()} failed") == 2


@pytest.mark.heavy
@pytest.mark.skipif(
    os.environ.get("PIPELINE_TEST_FULL") != "1", reason="minutes: set PIPELINE_TEST_FULL=1"
)
@pytest.mark.timeout(1800)
def test_shifted_data_are_trained_on_and_pass_again(
    make_project: Callable[..., Project], instance: dg.DagsterInstance
) -> None:
    project = make_project(
        {
            "monitoring": {"sensor_seconds": 5},
            "model": {"factory": "pipeline_assets.training.models.mlp:build"},
            "evaluation": {"baselines": ["majority"], "gate": {"minimum": 0.5, "baseline": None}},
        }
    )
    project.edit(lambda a: a["model"].update(options={"hidden": [16]}))
    project.instance, home = instance, project.home / "dagster"
    result = project.run()
    assert result.success, failure_text(result)

    def publish(shift: float, seed: int) -> None:
        """New source files, and the chain up to features."""
        shutil.rmtree(project.home / project.use_case.source.uri)
        project.edit(lambda a: a["source"]["demo"].update(shift=shift, seed=seed))
        done = project.run(asset_selection=DATA)
        assert done.success, failure_text(done)

    publish(0.0, seed=7)
    with daemon(project, home) as log:
        until(lambda: verdicts(instance) == [[True]] * 2, log)
    assert len(runs(instance, "statistics")) == 1 and not runs(instance, "retrain")
    publish(1.5, seed=8)
    with daemon(project, home) as log:
        until(lambda: verdicts(instance)[0][:1] == [False], log)
        until(lambda: verdicts(instance) == [[True, False, True]] * 2, log, 900)
        time.sleep(11)  # two more ticks
    [retraining] = runs(instance, "retrain")
    assert retraining.status == dg.DagsterRunStatus.SUCCESS, log.read_text()[-4000:]
    assert "age ks" in retraining.tags["pipeline_assets/retrain_reason"]
    assert len(runs(instance, "statistics")) == 2
