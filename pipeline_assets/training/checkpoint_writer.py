"""When all ranks save, and the thread that writes while training goes on."""

import dataclasses
import time
from collections.abc import Callable
from concurrent import futures
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from pipeline_assets.training.checkpoint import TrainingState, write_checkpoint
from pipeline_assets.training.collectives import sum_over_ranks
from pipeline_assets.training.config import TrainingError
from pipeline_assets.training.parallelize import Ranks

MOST_SHARE = 0.025
"""Most that checkpoints take of the time: of the training thread and, where it computes on processors, of
one of them by the thread that writes. Half of the 5 % that training may become slower: writing also takes
memory bandwidth and cache from it."""
SECONDS_PER_BYTE = 3e-9
"""Of a processor, to copy, write and hash: what is expected before the first checkpoint has shown it."""
PATIENCE_SECONDS, SLOWEST_BYTES_PER_SECOND = 60.0, 10_000_000
"""A checkpoint that takes longer, by its size, is no progress any more: the file system may hang."""
_MEETING_SECONDS = 1.0
_DONE, _WRITES, _HANGS = 0, 1, 2


class CheckpointWriter:
    """Writes checkpoints on a thread, one at a time; a context manager around the training.

    Leaving it waits for the one that is being written, so that a process that ends by itself never
    leaves half of one.

    Args:
        folder: where checkpoints are published.
        on_progress: called about once a second while somebody waits for the thread, as long as a checkpoint of
            that size may take.
    """

    def __init__(self, folder: Path, on_progress: Callable[[], None] = lambda: None) -> None:
        self._folder = folder
        self._on_progress = on_progress
        self._pool = futures.ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending: futures.Future[None] | None = None
        self._patience_ends = 0.0
        self.processor_seconds = 0.0
        """What the last one took of a processor."""

    def __enter__(self) -> "CheckpointWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        while writes := self._writes():
            self._go_on(writes)
        self._pool.shutdown()
        if error is None:
            self.wait()

    def writes_for(self, seconds: float) -> bool:
        """Whether one is still being written after at most so many seconds."""
        if self._pending is None:
            return False
        return bool(futures.wait([self._pending], timeout=seconds).not_done)

    def submit(self, state: TrainingState, tensors: dict[str, Tensor]) -> None:
        """Write a state, after the one before it; `tensors` must not change any more.

        Raises:
            TrainingError: the one before it could not be written.
        """
        self.wait()
        size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
        self._patience_ends = time.monotonic() + PATIENCE_SECONDS + size / SLOWEST_BYTES_PER_SECOND
        described = dataclasses.asdict(state)
        self._pending = self._pool.submit(self._write, described, state.name, tensors)

    def wait(self) -> None:
        """Return when all is written. Raises `TrainingError` where that failed."""
        while writes := self._writes():
            self._go_on(writes)
        pending, self._pending = self._pending, None
        if pending is None:
            return
        try:
            pending.result()
        # Rust writes the tensors, and has an error of its own for a full disk.
        except (OSError, SafetensorError) as error:
            raise TrainingError(
                f"a checkpoint could not be written to {self._folder}: {error}. Make room or give "
                "write access there and run again: training goes on from the last good one"
            ) from error

    def wait_on_all(self, ranks: Ranks) -> None:
        """As `wait`, on all ranks together: those that write nothing live as long as the one that does."""
        while writes := int(sum_over_ranks(torch.tensor(self._writes()), ranks)):
            self._go_on(writes)
        self.wait()

    def _writes(self) -> int:
        """Wait at most a second; say whether one is still being written, and takes too long."""
        if not self.writes_for(1.0):
            return _DONE
        return _WRITES if time.monotonic() < self._patience_ends else _HANGS

    def _go_on(self, writes: int) -> None:
        """Say that all is well, unless it hangs: then nobody does, and whoever watches ends the training."""
        if writes == _WRITES:
            self._on_progress()

    def _write(self, described: dict[str, Any], name: str, tensors: dict[str, Tensor]) -> None:
        started = time.thread_time()
        write_checkpoint(self._folder, described, name, tensors)
        self.processor_seconds = time.thread_time() - started


class Cadence:
    """When all ranks save: every so many seconds of the leading rank's clock, and at the end of epochs.

    Never while one is being written, and only so often that they cost no more than `MOST_SHARE`.

    Ranks must save after the same batch, and have clocks of their own. So in mid-epoch they meet about
    once a second, at a batch that the meeting before has named, and hear there what the leading rank
    has decided.

    Args:
        seconds: between checkpoints in mid-epoch.
        ranks: who meets.
        writer: the leading rank's; those of the others write nothing.
        size: bytes of a checkpoint, about.
    """

    def __init__(self, seconds: float, ranks: Ranks, writer: CheckpointWriter, size: int) -> None:
        self._seconds = seconds
        self._ranks = ranks
        self._writer = writer
        self._saved = self._met = time.monotonic()
        # Ranks on GPUs leave processors idle.
        self._on_processors = ranks.device.type == "cpu"
        self._cost = size * SECONDS_PER_BYTE if self._on_processors else 0.0
        self._position = self._meeting = -1

    def saved(self, cost: float) -> None:
        """A checkpoint was taken; it cost the training thread so many seconds."""
        self._saved, self._cost = time.monotonic(), cost

    def affordable(self) -> bool:
        """Whether one may be saved now, the same on all ranks; a collective."""
        return bool(self._as_the_leader(int(self._is_affordable()))[0])

    def due(self, position: int) -> bool:
        """Whether to save now in mid-epoch, the same on all ranks.

        Args:
            position: global batches done; all ranks must ask at the same ones.
        """
        if position < self._meeting:
            return False
        now = time.monotonic()
        save = now - self._saved >= self._seconds and self._is_affordable()
        done = position - self._position if self._position >= 0 else 1
        rate = done / max(now - self._met, 1e-6)
        # At most double, so that one quick batch does not put the next meeting far away.
        ahead = max(1, min(int(rate * min(_MEETING_SECONDS, self._seconds)), 2 * done))
        save, ahead = self._as_the_leader(int(save), ahead)
        self._position, self._met, self._meeting = position, now, position + ahead
        return bool(save)

    def _is_affordable(self) -> bool:
        """Of interest on the leading rank only."""
        if self._writer.writes_for(0):
            return False
        written = self._writer.processor_seconds if self._on_processors else 0.0
        cost = self._cost + written
        return time.monotonic() - self._saved >= cost / MOST_SHARE

    def _as_the_leader(self, *numbers: int) -> list[int]:
        if self._ranks.world_size == 1:
            return list(numbers)
        said = torch.tensor(numbers) * int(self._ranks.leads)
        return sum_over_ranks(said, self._ranks).tolist()
