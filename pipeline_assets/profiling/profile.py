"""Measures a block of code and the processes that it starts. How figures are shown is in `report`."""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from typing import Any

import psutil

SAMPLE_SECONDS = 0.1
"""Time between two looks at the processes; a child that lives shorter may be missed."""


@dataclass(frozen=True, kw_only=True)
class Profile:
    """The cost of a block of code in this process and its children, of all their threads."""

    wall_seconds: float
    cpu_seconds: float
    """User and system time; above `wall_seconds` where several cores were busy."""
    peak_rss_bytes: int
    """Largest resident memory at any look: this process (with what it held before) and its children.
    Pages that processes share count once for each."""
    read_bytes: int
    """Bytes read by system calls, from the page cache or a device."""
    written_bytes: int
    """Bytes written by system calls."""
    cores: int
    """Cores of the machine that the process may use."""

    @property
    def cpu_share(self) -> float:
        """Share of the available core time that was used, 0 to 1."""
        available = self.wall_seconds * self.cores
        return min(1.0, self.cpu_seconds / available) if available else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, JSON-safe."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Profile":
        """Return the profile that `to_dict` described; other keys are ignored."""
        return cls(**{field.name: values[field.name] for field in fields(cls)})


class ProfileInProgress:
    """Fills while the block runs; `result` is there after it."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._last: dict[tuple[int, float], _Usage] = {}
        self._first: dict[tuple[int, float], _Usage] = {}
        self._peak = 0
        self._started = time.perf_counter()
        self._result: Profile | None = None
        self._look()
        self._first = dict(self._last)

    @property
    def result(self) -> Profile:
        """The profile. Raises `RuntimeError` inside the block."""
        if self._result is None:
            raise RuntimeError("the profile is complete only after its `with` block")
        return self._result

    def to_dict(self) -> dict[str, Any]:
        """Return `result.to_dict()`."""
        return self.result.to_dict()

    def _look(self) -> None:
        try:
            processes = [self._process, *self._process.children(recursive=True)]
        except psutil.Error:
            processes = [self._process]
        rss = 0
        for process in processes:
            try:
                with process.oneshot():
                    usage = _Usage.of(process)
            except psutil.Error:
                continue  # it ended meanwhile; its last look counts
            self._last[(process.pid, process.create_time())] = usage
            rss += usage.rss
        self._peak = max(self._peak, rss)

    def _watch(self, done: threading.Event) -> None:
        while not done.wait(SAMPLE_SECONDS):
            self._look()

    def snapshot(self) -> Profile:
        """The cost up to now, also inside the block."""
        self._look()
        nothing = _Usage(cpu=0.0, rss=0, read=0, written=0)
        seen = list(self._last.items())  # a copy: the watching thread may add a process meanwhile
        spent = [(last, self._first.get(process, nothing)) for process, last in seen]
        return Profile(
            wall_seconds=time.perf_counter() - self._started,
            cpu_seconds=sum(last.cpu - first.cpu for last, first in spent),
            peak_rss_bytes=self._peak,
            read_bytes=sum(last.read - first.read for last, first in spent),
            written_bytes=sum(last.written - first.written for last, first in spent),
            cores=_cores(self._process),
        )


@dataclass(frozen=True)
class _Usage:
    cpu: float
    rss: int
    read: int
    written: int

    @classmethod
    def of(cls, process: psutil.Process) -> "_Usage":
        times = process.cpu_times()
        read = written = 0
        if hasattr(process, "io_counters"):  # not on macOS
            try:
                counters = process.io_counters()
                # `*_chars` count all system calls; `*_bytes` (other systems) only device traffic.
                read = getattr(counters, "read_chars", counters.read_bytes)
                written = getattr(counters, "write_chars", counters.write_bytes)
            except psutil.AccessDenied:
                pass
        return cls(
            cpu=times.user + times.system,
            rss=process.memory_info().rss,
            read=read,
            written=written,
        )


@contextmanager
def profile() -> Iterator[ProfileInProgress]:
    """Measure a block of code, also one that fails.

    >>> with profile() as measured:
    ...     total = sum(range(1000))
    >>> measured.result.wall_seconds > 0
    True
    """
    measured = ProfileInProgress()
    done = threading.Event()
    watcher = threading.Thread(target=measured._watch, args=(done,), daemon=True, name="profile")
    watcher.start()
    try:
        yield measured
    finally:
        done.set()
        watcher.join()
        measured._result = measured.snapshot()


def _cores(process: psutil.Process) -> int:
    if hasattr(process, "cpu_affinity"):
        return len(process.cpu_affinity() or []) or 1
    return psutil.cpu_count() or 1
