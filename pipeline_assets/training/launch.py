"""Starts a training: `python -m pipeline_assets.training.launch job.json`.

The elastic agent and its ranks live in a session of their own. Whoever dies takes all below along:
the ranks get SIGKILL when the agent dies, the agent when the launcher dies, and the launcher SIGTERM when
the parent dies that the environment names; one that is started by hand outlives its shell. SIGTERM and
SIGINT are passed on, with SIGKILL after a grace period. Ranks that hang are ended by the `watchdog`.

On several nodes one launcher runs on each, with the same job file; it returns when the ranks of its node
have ended. Global rank 0 alone writes checkpoints and model, to folders that all nodes share.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

import psutil

from pipeline_assets.temporary import temporary_folder
from pipeline_assets.training.agent import LAUNCHER_PID
from pipeline_assets.training.config import TrainingError, TrainingJob
from pipeline_assets.training.ends import how_it_ended, may_be_memory, where_it_goes_on
from pipeline_assets.training.heartbeat import FOLDER
from pipeline_assets.training.pipes import PIPES_CONTEXT, pipes_held_open
from pipeline_assets.training.processes import die_with_parent
from pipeline_assets.training.reason import Reason
from pipeline_assets.training.watchdog import Watchdog

GRACE_SECONDS = 10.0
PARENT_PID = "PIPELINE_PARENT_PID"
"""Environment variable with the process that the launcher shall not outlive."""


def launch(job_path: str | Path) -> int:
    """Run the job to its end; return the exit status: 0, or 128 + the signal that ended it, or 1.

    Raises:
        TrainingError: the job file is unusable, a rank said why it failed, or the ranks hang.
        TrainingInterrupted: a rank failed for a reason that may pass.
    """
    job = TrainingJob.load(job_path)
    reason = Reason.at_start(Path(job.output))
    with temporary_folder("launch") as heartbeats:
        watchdog = Watchdog(heartbeats, Path(job.output), job.launch.timeout_seconds)
        status = _run(job, job_path, heartbeats, watchdog, reason)
    # What was left now stays beside the output, for whoever started this process.
    said = reason.read() if status == 1 else None
    if said is not None:
        raise said
    reason.forget_earlier()
    return status


def _run(
    job: TrainingJob, job_path: str | Path, heartbeats: Path, watchdog: Watchdog, reason: Reason
) -> int:
    agent = subprocess.Popen(
        [sys.executable, "-m", "pipeline_assets.training.agent", str(job_path)],
        env=os.environ
        | {LAUNCHER_PID: str(os.getpid()), FOLDER: str(heartbeats)}
        | reason.environment(),
        start_new_session=True,
    )
    received: list[int] = []

    def forward(number: int, frame: FrameType | None) -> None:
        received.append(number)

    previous = {
        number: signal.signal(number, forward) for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        status = _wait(agent, received, watchdog, reason)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    if status < 0 and not received:
        reason.leave_death(
            f"the agent of the training {how_it_ended(status)}{may_be_memory(status)}. "
            + where_it_goes_on(job.checkpoints)
        )
    return 128 + received[0] if received else min(abs(status), 1)


def _wait(
    agent: subprocess.Popen[bytes], received: list[int], watchdog: Watchdog, reason: Reason
) -> int:
    """Wait for the agent; pass signals on; end ranks that hang; leave no process of the group behind."""
    forwarded, deadline = 0, float("inf")
    family: list[psutil.Process] = []
    while True:
        try:
            status = agent.wait(timeout=0.1)
            break
        except subprocess.TimeoutExpired:
            pass
        if len(received) > forwarded:
            forwarded = len(received)
            deadline = min(deadline, time.monotonic() + GRACE_SECONDS)
            family = _family(agent.pid)
            os.killpg(agent.pid, received[-1])
        hanging = watchdog.look(lambda: [process.pid for process in _family(agent.pid)])
        if hanging is not None:
            reason.leave(hanging)
            deadline = 0.0
        if time.monotonic() > deadline:
            family += _family(agent.pid)
            os.killpg(agent.pid, signal.SIGKILL)
            deadline = float("inf")
    for process in family:
        if process.is_running():
            process.kill()
    psutil.wait_procs(family, timeout=GRACE_SECONDS)
    return status


def _family(pid: int) -> list[psutil.Process]:
    """Children of the agent: ranks have sessions of their own, a signal to its group misses them."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def main(arguments: list[str]) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline_assets.training.launch",
        description="Runs a training job to its end, from its last checkpoint where there is one.",
        epilog="Exit status: 0, 1 where the training failed, 128 + the signal that ended it.",
    )
    parser.add_argument(
        "job", help="JSON file of a TrainingJob, see pipeline_assets.training.config"
    )
    job = parser.parse_args(arguments).job
    if PARENT_PID in os.environ:
        die_with_parent(signal.SIGTERM, parent=int(os.environ[PARENT_PID]))
    by_hand = PIPES_CONTEXT not in os.environ
    with pipes_held_open():
        try:
            status = launch(job)
        except TrainingError as error:
            if by_hand:  # Dagster shows it as the failure of the step
                sys.stderr.write(f"training failed: {error}\n")
            return 1
    if status == 0 and by_hand:  # Dagster publishes the model elsewhere
        sys.stdout.write(f"the model is in {Path(TrainingJob.load(job).output).absolute()}\n")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
