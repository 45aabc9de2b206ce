"""How many heavy tasks run at once in one process. No engine code belongs here.

Sail starts all tasks of a stage at once as threads of one process: without a limit, forty tasks would
sort forty buckets at the same time. In Spark's workers a process has one task and never waits here.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class _Slots:
    def __init__(self) -> None:
        self._free = threading.Condition()
        self._used = 0
        self.limit = available_cores()

    def take(self) -> None:
        with self._free:
            self._free.wait_for(lambda: self._used < self.limit)
            self._used += 1

    def give(self) -> None:
        with self._free:
            self._used -= 1
            self._free.notify()


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


_slots = _Slots()


def _fresh() -> None:
    """A forked child has none of the threads that hold slots."""
    global _slots
    limit = _slots.limit
    _slots = _Slots()
    _slots.limit = limit


os.register_at_fork(after_in_child=_fresh)


def limit_tasks(cores: int | None) -> None:
    """Let so many heavy tasks run at once in this process; None for one per available core."""
    _slots.limit = cores or available_cores()


@contextmanager
def task_slot() -> Iterator[None]:
    """Wait until a core is free for a heavy task. Take it after the input was read, never around reading.

    Tasks feed each other: one that waits for input while it holds a slot may wait for ever.
    """
    slots = _slots
    slots.take()
    try:
        yield
    finally:
        slots.give()
