"""The launcher's eye on the ranks of its node: whoever makes no progress is ended, with the stacks kept."""

import os
import shutil
import signal
import time
from collections.abc import Callable, Collection
from pathlib import Path

import psutil

from pipeline_assets.training.heartbeat import DUMP_SIGNAL, STACKS, Position, read_positions
from pipeline_assets.training.pipes import PIPES_CONTEXT

_ANSWER_SECONDS = 3.0


class Watchdog:
    """Ranks work in step, so one that hangs stops them all: it is when none goes on.

    Args:
        heartbeats: folder in which this node's ranks note where they are.
        output: the job's folder for the model.
        timeout: seconds without progress that are too many.
    """

    def __init__(self, heartbeats: Path, output: Path, timeout: float) -> None:
        self._heartbeats = heartbeats
        self._output = output
        self._timeout = timeout
        self._next = 0.0

    def look(self, alive: Callable[[], Collection[int]]) -> str | None:
        """Return what is to be said where the ranks hang, else None. Looks about once a second.

        Args:
            alive: gives the process ids of the ranks that run; the positions of others are stale.
        """
        now = time.monotonic()
        if now < self._next:
            return None
        self._next = now + min(1.0, self._timeout / 10)
        positions = read_positions(self._heartbeats)
        if not positions or now - max(p.at for p in positions) <= self._timeout:
            return None
        pids = alive()
        hanging = [position for position in positions if position.pid in pids]
        if not hanging or now - max(p.at for p in hanging) <= self._timeout:
            return None
        stopped = {p.rank for p in hanging if _status(p.pid) == psutil.STATUS_STOPPED}
        folder = self._keep_stacks(hanging)
        # The folder of a Dagster run is removed at its end.
        place = "the run's log" if PIPES_CONTEXT in os.environ else folder
        where = "; ".join(
            f"rank {p.rank} {p.where}{' (its process is stopped)' if p.rank in stopped else ''}"
            for p in hanging
        )
        return (
            f"no rank of this node has made progress for {self._timeout:g} seconds: {where}. Their "
            f"stacks are in {place}; if they only needed longer, raise `training.timeout_seconds` in "
            "the environment"
        )

    def _keep_stacks(self, positions: list[Position]) -> Path:
        for position in positions:
            _send(position.pid, DUMP_SIGNAL)
        silent = _wait_for_answers(positions)
        for position in silent:
            # A stopped process takes signals only when it goes on.
            _send(position.pid, signal.SIGCONT)
        silent = _wait_for_answers(silent)
        folder = self._output / STACKS
        folder.mkdir(parents=True, exist_ok=True)
        for position in positions:
            target = folder / f"rank-{position.rank}.txt"
            if position in silent:
                target.write_text(f"the process did not answer; it is {_status(position.pid)}\n")
            else:
                shutil.copyfile(position.stacks, target)
        return folder


def _wait_for_answers(positions: list[Position]) -> list[Position]:
    """Return those whose stacks are not there in time."""
    deadline = time.monotonic() + _ANSWER_SECONDS
    sizes: dict[int, int] = {}
    while positions and time.monotonic() < deadline:
        time.sleep(0.1)
        before, sizes = sizes, {p.rank: p.stacks.stat().st_size for p in positions}
        if all(size > 0 and before.get(rank) == size for rank, size in sizes.items()):
            break
    return [position for position in positions if position.stacks.stat().st_size == 0]


def _status(pid: int) -> str:
    try:
        return psutil.Process(pid).status()
    except psutil.NoSuchProcess:
        return "gone"


def _send(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
