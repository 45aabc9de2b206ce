"""Parents, children and signals. Standard library only: runs before anything heavy is imported."""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
SWEEP_PID = "PIPELINE_SWEEP_PID"
OUT_OF_MEMORY = 77
"""Exit status of a rank of a sweep that had no memory for a candidate."""
STORE_FOLDER = "PIPELINE_STORE_FOLDER"
"""Environment variable with a folder in which ranks of one machine meet; without it they do by TCP."""


def die_with_parent(number: int = signal.SIGKILL, parent: int | None = None) -> None:
    """Have the kernel send this process a signal when its parent dies, however it dies (Linux).

    Args:
        number: the signal.
        parent: process id the parent must have; exits at once where it is already gone.
    """
    expected = os.getppid() if parent is None else parent
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
    # It may have died before the request.
    if os.getppid() != expected:
        sys.exit(f"parent process {expected} is gone")


def available_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
