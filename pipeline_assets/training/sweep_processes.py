"""Starts the ranks of a sweep and looks after them. What they measure is in `sweep_ranks`."""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from pipeline_assets.temporary import temporary_folder
from pipeline_assets.training.config import TrainingError, TrainingJob
from pipeline_assets.training.processes import OUT_OF_MEMORY, STORE_FOLDER, SWEEP_PID

_GRACE_SECONDS = 2.0
"""After one rank has ended too soon, for what the leading one has still to say."""


class _OutOfMemory(Exception):
    """A rank had no memory for its candidate."""


def measure(
    job: TrainingJob,
    what: str,
    candidates: Sequence[Any],
    *,
    ranks: int,
    threads: int,
    seconds: float,
) -> Generator[dict[str, Any]]:
    """Start the ranks and yield a result for each candidate, in order, as it is found.

    One that needs more memory than there is ends its ranks; the others are measured by new ones.

    Args:
        job: the training.
        what: `dataloader` or `precision`.
        candidates: batch sizes or precisions.
        ranks: processes.
        threads: of each.
        seconds: for each candidate.

    Yields:
        `candidate` with what was measured, or with the `reason` why there is nothing.

    Raises:
        TrainingError: a process failed.
    """
    left, steps = list(candidates), None
    while left:
        plan = {
            "job": job.to_dict(),
            "what": what,
            "candidates": left,
            "steps": steps,
            "seconds": seconds,
        }
        try:
            with closing(_results(plan, ranks, threads)) as results:
                for found in results:
                    left.remove(found["candidate"])
                    steps = found.get("steps", steps)
                    yield found
            return
        except _OutOfMemory:
            yield {"candidate": left.pop(0), "reason": "out of memory"}


def _results(plan: dict[str, Any], ranks: int, threads: int) -> Generator[dict[str, Any]]:
    with temporary_folder("sweep") as folder:
        path = folder / "plan.json"
        path.write_text(json.dumps(plan))
        environment = os.environ | {
            "WORLD_SIZE": str(ranks),
            "LOCAL_WORLD_SIZE": str(ranks),
            STORE_FOLDER: str(folder),
            "GLOO_SOCKET_IFNAME": "lo",
            "NCCL_SOCKET_IFNAME": "=lo",
            "OMP_NUM_THREADS": str(threads),
            "TORCH_CPP_LOG_LEVEL": "ERROR",
            SWEEP_PID: str(os.getpid()),
        }
        environment.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        processes: list[subprocess.Popen[str]] = []
        try:
            for rank in range(ranks):
                with _said_by(folder, rank).open("w") as said:
                    processes.append(
                        subprocess.Popen(
                            [
                                sys.executable,
                                "-m",
                                "pipeline_assets.training.sweep_ranks",
                                str(path),
                            ],
                            env=environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
                            stdout=subprocess.PIPE if rank == 0 else subprocess.DEVNULL,
                            stderr=said,
                            text=True,
                        )
                    )
            yield from _followed(processes, folder)
        finally:
            for process in processes:
                process.kill()
                process.communicate()


def _followed(processes: list[subprocess.Popen[str]], folder: Path) -> Generator[dict[str, Any]]:
    """Yield what the leading rank writes, until it has ended or any other has failed."""
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    reader = threading.Thread(target=_read, args=(processes[0], lines), daemon=True)
    reader.start()
    failed: tuple[int, int] | None = None
    deadline = float("inf")
    while time.monotonic() < deadline:
        if failed is None:
            # The others wait for a rank that is gone: without a look at all, for ten minutes.
            failed = _failed(processes)
            deadline = deadline if failed is None else time.monotonic() + _GRACE_SECONDS
        try:
            line = lines.get(timeout=0.1)
        except queue.Empty:
            continue
        if line is None:
            break
        found = _result(line)
        if found is not None and "error" in found:
            raise TrainingError(found["error"])
        if found is not None:
            yield found
    if failed is None:
        for process in processes:
            process.wait()
    failed = _failed(processes)
    if failed is None:
        return
    if any(process.poll() == OUT_OF_MEMORY for process in processes):
        raise _OutOfMemory
    rank, status = failed
    sys.stderr.write(_said_by(folder, rank).read_text(encoding="utf-8", errors="replace"))
    raise TrainingError(f"rank {rank} of {len(processes)} {_ended(status)}")


def _failed(processes: list[subprocess.Popen[str]]) -> tuple[int, int] | None:
    """A rank that has ended with a status other than 0, and the status; first of all one that was killed.

    Those that lose a neighbour fail in turn.
    """
    statuses = [(rank, process.poll()) for rank, process in enumerate(processes)]
    failed = [(rank, status) for rank, status in statuses if status]
    return min(failed, key=lambda item: item[1], default=None)


def _ended(status: int) -> str:
    if status == -signal.SIGKILL:
        return "was killed: perhaps by the system, for want of memory"
    if status < 0:
        return f"was ended by {signal.Signals(-status).name}"
    return f"ended with status {status}; what it said is above"


def _read(process: subprocess.Popen[str], lines: "queue.SimpleQueue[str | None]") -> None:
    for line in process.stdout or ():
        lines.put(line)
    lines.put(None)


def _result(line: str) -> dict[str, Any] | None:
    """A line of `sweep_ranks`, or None for what a model of somebody else's has printed."""
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) and ("candidate" in found or "error" in found) else None


def _said_by(folder: Path, rank: int) -> Path:
    return folder / f"rank{rank}.txt"
