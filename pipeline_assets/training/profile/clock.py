"""Seconds of the parts of a training, by the clock of what computes: the host's, or the GPU's."""

import time
from collections import Counter, deque
from typing import Any

import torch

from pipeline_assets.training.profile.findings import PARTS, Part


class HostClock:
    """For CPUs, where a call returns when its work is done."""

    def __init__(self) -> None:
        self._seconds: Counter[str] = Counter()

    def mark(self) -> Any:
        """A moment."""
        return time.perf_counter()

    def add(self, part: Part, start: Any, end: Any) -> None:
        """A part lasted from one moment to another."""
        self._seconds[part] += end - start

    def seconds(self) -> dict[Part, float]:
        """Seconds of each part so far."""
        return {part: float(self._seconds[part]) for part in PARTS}


class GpuClock(HostClock):
    """For a GPU, to which the host only hands over work: moments of its current stream.

    A part lasts from when the GPU has done all before it to when it has done all of it, so time in which
    the GPU waits for the host counts for what the host was at. Nothing here waits for the GPU, except
    `seconds`.
    """

    def __init__(self) -> None:
        super().__init__()
        self._pending: deque[tuple[Part, torch.cuda.Event, torch.cuda.Event]] = deque()

    def mark(self) -> torch.cuda.Event:
        """A moment of the stream."""
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def add(self, part: Part, start: torch.cuda.Event, end: torch.cuda.Event) -> None:
        """A part lasted from one moment to another, of which the GPU may be ahead."""
        self._pending.append((part, start, end))
        # Past ones are read as they go by: an epoch of events would be too many.
        while self._pending and self._pending[0][2].query():
            self._read(*self._pending.popleft())

    def seconds(self) -> dict[Part, float]:
        """Seconds of each part so far; waits for the GPU."""
        while self._pending:
            part, start, end = self._pending.popleft()
            end.synchronize()
            self._read(part, start, end)
        return super().seconds()

    def _read(self, part: Part, start: torch.cuda.Event, end: torch.cuda.Event) -> None:
        super().add(part, 0.0, start.elapsed_time(end) / 1000)


def clock_of(device: torch.device) -> HostClock:
    """The clock of a device."""
    return GpuClock() if device.type == "cuda" else HostClock()
