"""When all ranks save, and the thread that writes while training goes on."""

import dataclasses
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

import torch
from safetensors import SafetensorError
from torch import Tensor

from pipeline_assets.training.checkpoint import TrainingState, write_checkpoint
from pipeline_assets.training.config import TrainingError
from pipeline_assets.training.parallelize import Ranks, sum_over_ranks

MOST_SHARE = 0.05
"""Checkpoints in mid-epoch take at most this share of the time of the training thread."""
_MEETING_SECONDS = 1.0


class CheckpointWriter:
    """Writes checkpoints on a thread, one at a time; a context manager around the training.

    Leaving it waits for the one that is being written, so that a process that ends by itself never
    leaves half of one.

    Args:
        folder: where checkpoints are published.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending: Future[None] | None = None

    def __enter__(self) -> "CheckpointWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.shutdown(wait=True)
        if error is None:
            self.wait()

    @property
    def busy(self) -> bool:
        """Whether one is being written."""
        return self._pending is not None and not self._pending.done()

    def submit(self, state: TrainingState, tensors: dict[str, Tensor]) -> None:
        """Write a state, after the one before it; `tensors` must not change any more.

        Raises:
            TrainingError: the one before it could not be written.
        """
        self.wait()
        self._pending = self._pool.submit(
            write_checkpoint, self._folder, dataclasses.asdict(state), state.name, tensors
        )

    def wait(self) -> None:
        """Return when all is written. Raises `TrainingError` where that failed."""
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


class Cadence:
    """When all ranks save in mid-epoch: every so many seconds of the leading rank's clock.

    Ranks must save after the same batch, and have clocks of their own. So they meet about once a second,
    at a batch that the meeting before has named, and hear there what the leading rank has decided.

    Args:
        seconds: between checkpoints.
        ranks: who meets.
    """

    def __init__(self, seconds: float, ranks: Ranks) -> None:
        self._seconds = seconds
        self._ranks = ranks
        self._saved = self._met = time.monotonic()
        self._cost = 0.0
        self._position = self._meeting = -1

    def saved(self, cost: float) -> None:
        """A checkpoint was taken; it cost the training thread so many seconds."""
        self._saved, self._cost = time.monotonic(), cost

    def due(self, position: int, busy: bool) -> bool:
        """Whether to save now, the same on all ranks.

        Args:
            position: global batches done; all ranks must ask at the same ones.
            busy: whether the leading rank is still writing; of no interest on the others.
        """
        if position < self._meeting:
            return False
        now = time.monotonic()
        wanted = max(self._seconds, self._cost / MOST_SHARE)
        save = now - self._saved >= wanted and not busy
        done = position - self._position if self._position >= 0 else 1
        rate = done / max(now - self._met, 1e-6)
        # At most double, so that one quick batch does not put the next meeting far away.
        ahead = max(1, min(int(rate * min(_MEETING_SECONDS, self._seconds)), 2 * done))
        if self._ranks.world_size > 1:
            said = torch.tensor([int(save), ahead] if self._ranks.leads else [0, 0])
            save, ahead = sum_over_ranks(said, self._ranks).tolist()
        self._position, self._met, self._meeting = position, now, position + ahead
        return bool(save)
