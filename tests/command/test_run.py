"""run and replay, with a stand-in for `dg` that prints what Dagster prints; killed runs with a real instance."""

import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from pipeline_assets.__main__ import main
from pipeline_assets.lake import Lake
from pipeline_assets.orchestration.abandoned import MACHINE_TAG, end_abandoned_runs, machine

RUN = "856d17e7-acd6-415d-b2f6-05913eb0ce56"
PREFIX = f"2026-11-21 01:50:46 +0000 - dagster - DEBUG - shop_full - {RUN} - 1 - "


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path of a shell script that is run instead of `dg`."""
    script = tmp_path / "dg"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    monkeypatch.setattr("pipeline_assets.command.run.dg_command", lambda: str(script))
    return script


def test_a_run_prints_stages_and_the_summary(
    full_lake: Lake, stand_in: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    stand_in.write_text(
        "#!/bin/sh\n"
        f'echo "$@ $DAGSTER_HOME $PIPELINE_HOME" > {tmp_path}/called\n'
        f'echo "{PREFIX}shop__raw - STEP_START - Started"\n'
        "echo noise >&2\n"
        f'echo "{PREFIX}shop__raw - STEP_SUCCESS - Finished"\n'
        f'echo "{PREFIX}RUN_SUCCESS - Finished"\n'
    )
    assert main(["run", "shop"]) == 0
    text = capsys.readouterr().out
    assert "raw                 done in" in text
    assert "noise" not in text
    for wanted in ("Rejected: 3 of 13", "Model", "Majority", "report.html", "make ui"):
        assert wanted in text
    called = (tmp_path / "called").read_text().split()
    assert called[:3] == ["launch", "-m", "pipeline_assets.definitions"]
    assert called[3:5] == ["--job", "shop_full"]
    assert called[5:] == [str(tmp_path / ".dagster"), str(tmp_path)]
    assert (tmp_path / ".dagster" / "dagster.yaml").is_file()
    (log,) = (tmp_path / ".dagster" / "run_logs").iterdir()
    assert str(log) in text
    assert "noise" in log.read_text()


def test_a_failed_run_names_stage_and_message(
    full_lake: Lake, stand_in: Path, capsys: pytest.CaptureFixture[str]
):
    stand_in.write_text(
        "#!/bin/sh\n"
        f'echo "{PREFIX}shop__validated - STEP_FAILURE - Execution failed."\n'
        'echo; echo "dagster.Failure: 9% of the rows are rejected"; echo; echo "Stack Trace:"\n'
        "exit 1\n"
    )
    assert main(["run", "shop"]) == 1
    text = capsys.readouterr().out
    assert "failed in the stage validated:\n  9% of the rows are rejected" in text
    assert f"/runs/{RUN}" in text
    assert "Majority" not in text


def test_a_launch_that_never_became_a_run_shows_what_was_said(
    full_lake: Lake, stand_in: Path, capsys: pytest.CaptureFixture[str]
):
    stand_in.write_text("#!/bin/sh\necho no such job >&2\nexit 2\n")
    assert main(["run", "shop"]) == 1
    assert "could not be launched (exit status 2):\n  no such job" in capsys.readouterr().out


def test_exit_status_0_without_a_success_event_is_a_failure(
    full_lake: Lake, stand_in: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["run", "shop"]) == 1


def test_a_killed_job_is_a_failure(
    full_lake: Lake, stand_in: Path, capsys: pytest.CaptureFixture[str]
):
    stand_in.write_text("#!/bin/sh\nkill -9 $$\n")
    assert main(["run", "shop"]) == 1
    assert "SIGKILL" in capsys.readouterr().out


def test_settings_that_are_there_are_kept(
    full_lake: Lake, stand_in: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / ".dagster").mkdir()
    (tmp_path / ".dagster" / "dagster.yaml").write_text("# mine\n")
    main(["run", "shop"])
    assert (tmp_path / ".dagster" / "dagster.yaml").read_text() == "# mine\n"


def test_replay_of_nothing_rejected(
    lake: Lake, use_cases: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["replay", "shop"]) == 2
    assert "materialise" in capsys.readouterr().err
    with lake.dataset("shop", "rejected").stage() as staged:
        staged.seal(rows=0, schema=[], upstream={}, run_id=None, metadata={})
        staged.publish()
    assert main(["replay", "shop"]) == 0
    assert "nothing to replay" in capsys.readouterr().out


TOY = """
import os, time
import dagster as dg
from pipeline_assets.orchestration.executor import executor_of

@dg.asset(pool="training")
def trained():
    print("in the pool", flush=True)
    time.sleep(float(os.environ["SECONDS"]))

defs = dg.Definitions(
    assets=[trained], jobs=[dg.define_asset_job("toy")], executor=executor_of())
"""


class Toy:
    """An instance in SQLite, and a job whose step holds the slot of a pool."""

    def __init__(self, folder: Path) -> None:
        root = Path(__file__).parents[2]
        (folder / "toy.py").write_text(TOY)
        (folder / "dagster.yaml").write_bytes((root / "dagster.yaml").read_bytes())
        self.folder = folder
        self._variables = {
            **os.environ,
            "DAGSTER_HOME": str(folder),
            "PYTHONWARNINGS": "ignore",
            "PYTHONUNBUFFERED": "1",
        }

    def start(self, seconds: int) -> subprocess.Popen[str]:
        """Execute the job, in a process of its own, with a step of that length."""
        return subprocess.Popen(
            [sys.executable, "-m", "dagster", "job", "execute", "-f", "toy.py", "-j", "toy"],
            cwd=self.folder,
            env={**self._variables, "SECONDS": str(seconds)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def tidied(self) -> str:
        """What the command for abandoned runs says."""
        return subprocess.run(
            [sys.executable, "-m", "pipeline_assets.orchestration.abandoned"],
            env=self._variables,
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    @property
    def instance(self) -> dg.DagsterInstance:
        """The instance, opened by this process."""
        return dg.DagsterInstance.from_config(str(self.folder))


def in_the_pool(process: subprocess.Popen[str]) -> None:
    """Return when the step runs."""
    assert process.stdout is not None
    assert any(line == "in the pool\n" for line in process.stdout)


def test_a_killed_run_gives_its_slot_to_the_next_and_a_living_one_keeps_it(tmp_path: Path):
    toy = Toy(tmp_path)
    with toy.start(300) as process:
        in_the_pool(process)
        assert toy.tidied() == ""
        process.kill()
    with toy.instance as instance:
        [run] = instance.get_runs()
        instance.add_run_tags(run.run_id, {MACHINE_TAG: "another"})
        assert end_abandoned_runs(instance) == []
        instance.add_run_tags(run.run_id, {MACHINE_TAG: machine()})
    with toy.start(0) as process:
        try:
            said = process.communicate(timeout=60)[0]
        finally:
            process.kill()
    assert process.returncode == 0, said
    assert f"run {run.run_id} was killed: it is marked as failed" in said
    assert toy.tidied() == ""
