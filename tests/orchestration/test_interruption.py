"""kill -9 of a run, in each stage, and the run after it: same data, nothing half, nobody left behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import psutil
import pytest

from pipeline_assets.orchestration.abandoned import end_abandoned_runs
from tests.orchestration.conftest import Project, failure_text
from tests.orchestration.tiny_use_case import at_home, write_project

ROOT = Path(__file__).parents[2]
CODE = """
import sys
from pathlib import Path
sys.path.insert(0, {root!r})
import dagster as dg
from pipeline_assets.orchestration import resources as shared
from pipeline_assets.orchestration.executor import executor_of
from pipeline_assets.orchestration.definitions import use_case_definitions
from pipeline_assets.features.use_cases import load_checked_use_case

defs = dg.Definitions.merge(
    use_case_definitions(load_checked_use_case(Path({file!r}))),
    dg.Definitions(
        resources={{"platform": shared.Platform(), "engine": shared.Engine()}},
        executor=executor_of(),
    ),
)
"""
REPRODUCIBLE = (
    "raw", "validated", "rejected", "features", "feature_statistics", "tensor_shards",
    "trained_model", "evaluation_report",
)  # fmt: skip


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """The whole chain, published once, on an instance in SQLite as users have it."""
    home = tmp_path_factory.mktemp("tiny")
    file = write_project(home)
    (home / "code.py").write_text(CODE.format(root=str(ROOT), file=str(file)))
    dagster_home = home / ".dagster"
    dagster_home.mkdir()
    (dagster_home / "dagster.yaml").write_bytes((ROOT / "dagster.yaml").read_bytes())
    with (
        at_home(home, DAGSTER_HOME=str(dagster_home)),
        dg.DagsterInstance.from_config(str(dagster_home)) as instance,
    ):
        project = Project(home=home, file=file, instance=instance)
        result = project.run()
        assert result.success, failure_text(result)
        yield project


def versions_on_disk(project: Project, asset: str) -> set[str]:
    folder = project.home / "data" / "lake" / "tiny" / asset / "all" / "versions"
    return {entry.name for entry in folder.iterdir()}


def made_with(asset: str) -> tuple[str, ...]:
    """The asset, and what can only be made together with it."""
    return (asset, "rejected") if asset == "validated" else (asset,)


def kill_run(project: Project, asset: str, *, when: Callable[[str], bool], group: bool) -> None:
    """Materialise an asset with Dagster's own command and kill it with SIGKILL.

    Args:
        project: whose asset.
        asset: last part of its key.
        when: given the log so far, whether the moment has come.
        group: kill the whole process group, and not the process alone.
    """
    log = project.home / f"{asset}.log"
    command = [
        str(Path(sys.executable).parent / "dagster"), "asset", "materialize",
        "-f", str(project.home / "code.py"),
        "--select", " or ".join(f"key:tiny/{name}" for name in made_with(asset)),
    ]  # fmt: skip
    deadline = time.monotonic() + 120
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            while not when(log.read_text(errors="replace")):
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.002)
        finally:
            if group:
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()
            process.wait()
    assert "RUN_SUCCESS" not in log.read_text()


def left_behind(project: Project) -> list[psutil.Process]:
    """Processes that still belong to the project."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                home = process.environ().get("PIPELINE_HOME")
                if home == str(project.home):
                    found.append(process)
        except psutil.Error:
            continue
    return found


def recovered(project: Project, asset: str, before: dict[str, str]) -> None:
    """What holds after a kill, and after the run that follows it."""
    deadline = time.monotonic() + 30
    while (alive := left_behind(project)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not alive, [process.cmdline() for process in alive]
    for dataset in project.lake.datasets():
        assert dataset.require().verify() == []
    now = project.versions()
    assert {a: now[a] for a in REPRODUCIBLE} == {a: before[a] for a in REPRODUCIBLE}
    ended = end_abandoned_runs(project.instance)
    assert len(ended) == 1
    run = project.instance.get_run_by_id(ended[0])
    assert run is not None
    assert run.status == dg.DagsterRunStatus.FAILURE
    held = project.instance.event_log_storage.get_concurrency_info("training")
    assert held.active_slot_count == 0
    result = project.run(asset_selection=[dg.AssetKey(["tiny", a]) for a in made_with(asset)])
    assert result.success, failure_text(result)
    now = project.versions()
    assert {a: now[a] for a in REPRODUCIBLE} == {a: before[a] for a in REPRODUCIBLE}


FULL_SIZE = os.environ.get("PIPELINE_TEST_FULL") == "1"
"""Without it, heavy cases run at reduced size."""
EVERY_STAGE = (
    "raw", "validated", "features", "feature_statistics", "tensor_shards", "evaluation_report",
    "model_version",
)  # fmt: skip
SOME_STAGES = ("validated", "tensor_shards", "model_version")


@pytest.mark.heavy
@pytest.mark.parametrize("asset", EVERY_STAGE if FULL_SIZE else SOME_STAGES)
def test_kill_9_while_a_version_is_written(project: Project, asset: str) -> None:
    before, known = project.versions(), versions_on_disk(project, asset)
    kill_run(
        project, asset, when=lambda log: versions_on_disk(project, asset) != known, group=False
    )
    recovered(project, asset, before)


@pytest.mark.heavy
@pytest.mark.parametrize("group", [False, True] if FULL_SIZE else [False])
def test_kill_9_while_training(project: Project, group: bool) -> None:
    from mlflow import MlflowClient

    before = project.versions()
    kill_run(project, "trained_model", when=lambda log: "epoch 1/" in log, group=group)
    recovered(project, "trained_model", before)
    store = f"sqlite:///{project.home}/data/mlflow/mlflow.db"
    client = MlflowClient(tracking_uri=store)
    experiments = [item.experiment_id for item in client.search_experiments()]
    assert not client.search_runs(experiments, "attributes.status = 'RUNNING'")


def epochs_in_mlflow(project: Project) -> dict[str, list[int]]:
    """The epochs of each MLflow run that has any, by status of the run."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{project.home}/data/mlflow/mlflow.db")
    experiments = [item.experiment_id for item in client.search_experiments()]
    return {
        f"{run.info.status} {run.info.run_id}": sorted(
            item.step for item in client.get_metric_history(run.info.run_id, "validation_log_loss")
        )
        for run in client.search_runs(experiments)
    }


@pytest.mark.heavy
def test_epochs_that_were_in_mlflow_before_a_kill_stay_and_none_is_there_twice(
    project: Project,
) -> None:
    before, yaml_before = epochs_in_mlflow(project), project.file.read_bytes()
    project.edit(lambda a: a["training"].update(max_epochs=14, patience=14, batch_size=2))

    def new() -> dict[str, list[int]]:
        found = epochs_in_mlflow(project)
        return {run: epochs for run, epochs in found.items() if run not in before}

    try:
        kill_run(
            project,
            "trained_model",
            when=lambda log: "epoch 2/" in log and any(new().values()),
            group=True,
        )
        [(killed, kept)] = new().items()
        assert kept == list(range(1, len(kept) + 1)) and 0 < len(kept) < 14
        end_abandoned_runs(project.instance)
        result = project.run(asset_selection=[dg.AssetKey(["tiny", "trained_model"])])
        assert result.success, failure_text(result)
        after = {run.split()[1]: epochs for run, epochs in new().items()}
        assert after.pop(killed.split()[1]) == kept
        assert list(after.values()) == [list(range(1, 15))]
    finally:
        project.file.write_bytes(yaml_before)
        project.run(asset_selection=[dg.AssetKey(["tiny", "trained_model"])])
