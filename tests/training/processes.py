"""Watching the launcher, the agent and the ranks of a training from outside."""

import dataclasses
import json
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipeline_assets.training.config import TrainingJob


def on(job: TrainingJob, **launch: object) -> TrainingJob:
    """The job with other settings of its launch."""
    return dataclasses.replace(job, launch=dataclasses.replace(job.launch, **launch))


def free_endpoint() -> str:
    """A port of this machine that nobody listens at, as host:port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


class PipesFiles:
    """What Dagster gives to a process that it listens to, and what it hears.

    Args:
        folder: for the files.
    """

    def __init__(self, folder: Path) -> None:
        encode_param = pytest.importorskip("dagster_pipes").encode_param
        context, self._messages = folder / "context", folder / "messages"
        context.write_text(json.dumps({"extras": {}}))
        self.variables = {
            "DAGSTER_PIPES_CONTEXT": encode_param({"path": str(context)}),
            "DAGSTER_PIPES_MESSAGES": encode_param({"path": str(self._messages)}),
        }

    def logged(self, level: str | None = None) -> list[str]:
        """Lines of the log, of one level or all, from one connection."""
        heard = self._heard()
        assert self.methods().count("opened") <= 1
        said = [message["params"] for message in heard if message["method"] == "log"]
        return [one["message"] for one in said if level in (None, one["level"])]

    def methods(self) -> list[str]:
        """What was sent, in order: opened, log, closed."""
        return [message["method"] for message in self._heard()]

    def _heard(self) -> list[dict[str, Any]]:
        if not self._messages.exists():
            return []
        return [json.loads(line) for line in self._messages.read_text().splitlines()]


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


def agent_of(process: subprocess.Popen[str]) -> psutil.Process:
    """The agent, once the launcher has started it."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        children = psutil.Process(process.pid).children()
        if children:
            return children[0]
        time.sleep(0.01)
    raise AssertionError("the agent did not start")


def until_it_listens(endpoint: str) -> None:
    """Return when a process holds the rendezvous at an endpoint: of two agents either may be first."""
    host, _, port = endpoint.rpartition(":")
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex((host, int(port))) == 0:
                return
        time.sleep(0.05)
    raise AssertionError(f"nobody listens at {endpoint}")


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
