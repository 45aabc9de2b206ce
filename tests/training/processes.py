"""Watching the launcher, the agent and the ranks of a training from outside."""

import subprocess
import time
from pathlib import Path

import psutil

from pipeline_assets.training.config import TrainingJob


def finish(process: subprocess.Popen[str]) -> str:
    """Return what a training said that has to go well, and quietly."""
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    assert err == "", "a training that goes well is quiet"
    return out


def family_of(process: subprocess.Popen[str], ranks: int) -> list[psutil.Process]:
    """Launcher, agent and ranks, once the ranks run."""
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        launcher = psutil.Process(process.pid)
        children = launcher.children(recursive=True)
        if len(workers(children)) == ranks:
            return [launcher, *children]
        time.sleep(0.05)
    raise AssertionError("the ranks did not start")


def after_epochs(job: TrainingJob, epochs: int) -> None:
    """Return when so many epochs are done."""
    path = Path(job.output) / "metrics.jsonl"
    deadline = time.monotonic() + 150
    while time.monotonic() < deadline:
        if path.exists() and len(path.read_text().splitlines()) >= epochs:
            return
        time.sleep(0.02)
    raise AssertionError(f"{epochs} epochs did not pass")


def all_gone(family: list[psutil.Process]) -> bool:
    """Whether none of them is left after a while."""
    _, alive = psutil.wait_procs(family, timeout=20)
    return not [p for p in alive if p.status() != psutil.STATUS_ZOMBIE]


def workers(family: list[psutil.Process]) -> list[psutil.Process]:
    """The ranks among them that run."""
    return [process for process in family if _trains(process)]


def _trains(process: psutil.Process) -> bool:
    try:
        return "worker" in " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return False
