"""Wall time, time of all cores, and peak memory of a function, its child processes included."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psutil


@contextmanager
def peak_memory() -> Iterator[list[int]]:
    """Peak resident MiB of this process and its children, sampled; filled in at the end."""
    found, done = [0], threading.Event()
    process = psutil.Process()

    def watch() -> None:
        while not done.wait(0.05):
            total = 0
            for part in (process, *process.children(recursive=True)):
                with suppress(psutil.NoSuchProcess):
                    total += part.memory_info().rss
            found[0] = max(found[0], total >> 20)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield found
    finally:
        done.set()
        watcher.join()


def timed(function: Callable[[], Any]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def processor_seconds() -> float:
    """What this process and its children have used of all cores so far."""
    total = 0.0
    for process in (psutil.Process(), *psutil.Process().children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            used = process.cpu_times()
            total += used.user + used.system
    return total


def repeated(function: Callable[[], Any], clean: Callable[[], Any], repeats: int) -> dict[str, Any]:
    """First run, best of the next ones, the same in seconds of a core, peak memory."""
    with peak_memory() as peak:
        seconds, used = [], []
        for number in range(repeats + 1):
            if number:
                clean()
            before = processor_seconds()
            seconds.append(timed(function))
            used.append(processor_seconds() - before)
    return {
        "cold": seconds[0],
        "warm": min(seconds[1:]),
        "warm_core": min(used[1:]),
        "peak_mib": peak[0],
    }
