"""The local Dagster instance: where it is, its settings file, and Dagster's own commands run against it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from pipeline_assets.command.errors import CommandError

RUN_LOGS = "run_logs"
"""Folder of the logs of launched runs. Not `logs`: Dagster takes its files for telemetry, sends and deletes them."""


def prepare_instance(home: Path) -> Path:
    """Return `DAGSTER_HOME` (`<home>/.dagster` by default), created with the project's `dagster.yaml`.

    Settings that are there already are left alone.

    Raises:
        CommandError: the folder cannot be written.
    """
    folder = Path(os.environ.get("DAGSTER_HOME") or home / ".dagster").expanduser().absolute()
    template = Path(__file__).parents[2] / "dagster.yaml"
    try:
        (folder / RUN_LOGS).mkdir(parents=True, exist_ok=True)
        if not (folder / "dagster.yaml").exists() and template.is_file():
            shutil.copyfile(template, folder / "dagster.yaml")
    except OSError as error:
        raise CommandError(
            f"cannot write Dagster's folder {folder}: {error.strerror}; set DAGSTER_HOME to another one"
        ) from error
    return folder


def dagster_variables(dagster_home: Path, home: Path) -> dict[str, str]:
    """The process environment for Dagster's commands: this instance, this home, no telemetry, no chatter."""
    return {
        "PYTHONWARNINGS": "ignore",
        "RUST_LOG": "error",
        **os.environ,
        "DAGSTER_HOME": str(dagster_home),
        "PIPELINE_HOME": str(home),
        "DAGSTER_DISABLE_TELEMETRY": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PYTHONUNBUFFERED": "1",
    }


def dg_command() -> str:
    """Dagster's `dg`, the one beside this Python first. Raises `CommandError` where there is none."""
    beside = Path(sys.executable).parent / "dg"
    found = str(beside) if beside.is_file() else shutil.which("dg")
    if found is None:
        raise CommandError(f"dg is not beside {sys.executable}; install from requirements.lock")
    return found


def end_abandoned_runs(variables: dict[str, str]) -> str:
    """End runs of this instance whose process was killed; returns a line for each.

    Without it the next run would wait for ever for the training slot of one that was killed.
    """
    if not (Path(variables["DAGSTER_HOME"]) / "history" / "runs.db").exists():
        return ""
    done = subprocess.run(
        [sys.executable, "-m", "pipeline_assets.orchestration.abandoned"],
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise CommandError(f"cannot look for killed runs in {variables['DAGSTER_HOME']}: {reason}")
    return done.stdout.strip()
