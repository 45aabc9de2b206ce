# ruff: noqa: T201 (the terminal is what this module writes to)
"""`pipeline_assets run`: launches a job through `dg`, as a Dagster user would, and shows how it goes."""

import signal
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import BinaryIO

from pipeline_assets.command.instance import (
    RUN_LOGS,
    dagster_variables,
    dg_command,
    end_abandoned_runs,
    prepare_instance,
)
from pipeline_assets.command.progress import Progress
from pipeline_assets.command.published import open_lake, published
from pipeline_assets.command.show import short_text
from pipeline_assets.command.timed_run import Launch, launches
from pipeline_assets.command.use_cases import check_all, find_use_case
from pipeline_assets.environments import load_environment
from pipeline_assets.training.processes import die_with_parent

MODULE = "pipeline_assets.definitions"
SECONDS_TO_STOP = 30


def run(name: str, *, job: str | None = None) -> int:
    """Launch what makes the use case anew, or one job of it, stream the progress, print the summary.

    Args:
        name: the use case.
        job: last part of a job's name, e.g. `replay`; by default the whole chain.

    Returns:
        0, or 1 where a run failed, or 130 where it was interrupted.

    Raises:
        CommandError: there is no such use case, it has no files, or Dagster's folder cannot be written.
        SpecError: this use case, or another, has mistakes.
    """
    use_case = find_use_case(name)
    check_all()
    environment = load_environment()
    dagster_home = prepare_instance(environment.home)
    variables = dagster_variables(dagster_home, environment.home)
    print(
        f"Running {use_case.name} in the environment {environment.name} ({environment.engine.kind})",
        flush=True,
    )
    abandoned = end_abandoned_runs(variables)
    if abandoned:
        print(abandoned, flush=True)
    if job is not None or use_case.time is None:
        found = [Launch(job=f"{use_case.name}_{job or 'full'}")]
    else:
        found = launches(use_case, environment)
    failed = []
    for each in found:
        status = _launch(each, use_case.name, dagster_home / RUN_LOGS, variables)
        if status == 130 or (status and not each.alone):
            return status
        if status:
            failed.append(" ".join((each.job, *each.options)))
    print("\n".join(short_text(published(use_case, environment, open_lake(environment)))))
    print("UI:     make ui, then http://127.0.0.1:3000 shows the runs, the assets and their checks")
    for name in failed:
        print(f"FAILED: {name}, see above; the others are published")
    return 1 if failed else 0


def _launch(launch: Launch, use_case: str, logs: Path, variables: dict[str, str]) -> int:
    """Launch a job and follow it to its end; return 0, 1 where it failed, 130 where it was interrupted."""
    log = logs / f"{launch.job}-{datetime.now(UTC):%Y%m%dT%H%M%S}.log"
    print(f"Job {' '.join((launch.job, *launch.options))}, full log: {log}", flush=True)
    progress = Progress(use_case)
    command = [dg_command(), "launch", "-m", MODULE, "--job", launch.job, *launch.options]
    status = follow(command, variables, log, progress)
    print()
    if status or not progress.succeeded:
        print(failure_text(progress, launch.job, status, log))
        return 130 if status == 130 else 1
    return 0


def follow(command: Sequence[str], variables: dict[str, str], log: Path, progress: Progress) -> int:
    """Run a command, copy all it says to `log`, print what `progress` makes of it.

    Ctrl-C reaches the command from the terminal; SIGTERM is passed on as an interrupt. The command dies
    with this process, however that ends.

    Returns:
        The command's exit status; 130 where it was interrupted.
    """
    interrupted = False

    before = signal.signal(signal.SIGTERM, _raise_terminated)
    try:
        with (
            log.open("wb") as file,
            subprocess.Popen(
                command,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                preexec_fn=die_with_parent,
            ) as process,
        ):
            assert process.stdout is not None
            try:
                for line in process.stdout:
                    file.write(line)
                    file.flush()
                    for shown in progress.feed(line.decode("utf-8", "replace")):
                        print(shown, flush=True)
            except (KeyboardInterrupt, _Terminated) as reason:
                interrupted = True
                print("interrupted: waiting for the run to stop", flush=True)
                if isinstance(reason, _Terminated):
                    process.send_signal(signal.SIGINT)
                _let_end(process, file, progress)
            for shown in progress.flush():
                print(shown, flush=True)
            status = process.wait()
    finally:
        signal.signal(signal.SIGTERM, before)
    return 130 if interrupted else status


class _Terminated(Exception):
    """SIGTERM came."""


def _raise_terminated(number: int, frame: FrameType | None) -> None:
    raise _Terminated


def _let_end(process: subprocess.Popen[bytes], log: BinaryIO, progress: Progress) -> None:
    """Let Dagster record that the run was cancelled; a second Ctrl-C, or half a minute, and it is killed."""
    try:
        rest, _ = process.communicate(timeout=SECONDS_TO_STOP)
    except (subprocess.TimeoutExpired, KeyboardInterrupt, _Terminated):
        process.kill()
        rest, _ = process.communicate()
    log.write(rest)
    for line in rest.decode("utf-8", "replace").splitlines():
        for _ in progress.feed(line):
            pass  # what was under way when it was interrupted is no news


def failure_text(progress: Progress, job: str, status: int, log: Path) -> str:
    """What failed, why, and where to read on."""
    lines = []
    if status == 130:
        lines.append(f"The job {job} was interrupted.")
    elif progress.failures:
        failure = progress.failures[0]
        lines += [f"The job {job} failed in the stage {failure.stage}:", _indented(failure.message)]
    elif status < 0:
        lines.append(
            f"The job {job} was killed by signal {-status} ({signal.Signals(-status).name})."
        )
    else:
        said = "\n".join(line for line in progress.output if line.strip())
        lines += [f"The job {job} could not be launched (exit status {status}):", _indented(said)]
    lines.append("What was published before is as it was; stages that finished have published.")
    lines.append(f"Full log: {log}")
    if progress.run_id:
        lines.append(f"UI:       make ui, then http://127.0.0.1:3000/runs/{progress.run_id}")
    return "\n".join(lines)


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())
