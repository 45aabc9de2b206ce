"""Batches as tensors on a rank's device; on a GPU one ahead of the training, copied beside it."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline_assets.shards.mapped import Rows
from pipeline_assets.shards.reader import Batch


@dataclass(frozen=True, kw_only=True, eq=False)
class DeviceBatch:
    """A rank's part of a global batch."""

    index: int
    """Number of the global batch in its epoch."""
    global_rows: int
    """Rows of the global batch, over all ranks."""
    host: Rows
    """This rank's rows as they were read."""
    columns: tuple[Tensor, ...]
    """The same on the device: numeric f32 [n, F], categorical i64 [n, C], label f32 [n] or [n, labels],
    row ids i64 [n]."""


def device_batches(
    batches: Iterator[Batch], device: torch.device, *, ahead: bool | None = None
) -> Iterator[DeviceBatch]:
    """Yield the batches on a device, in their order.

    Args:
        batches: of one rank.
        device: where to.
        ahead: a thread asks for the next batch and copies it, while the training has the one before; by
            default for GPUs alone: a CPU has nothing to copy.
    """
    if not (device.type == "cuda" if ahead is None else ahead):
        for batch in batches:
            yield _on_device(batch, tuple(map(torch.from_numpy, batch.rows)))
        return
    copying = _Copying(batches, device)
    with ThreadPoolExecutor(1, thread_name_prefix="batches") as pool:
        coming = pool.submit(copying.next)
        while True:
            batch = coming.result()
            if batch is None:
                return
            coming = pool.submit(copying.next)
            copying.hand_over(batch[0], batch[1])
            yield batch[0]


class _Copying:
    """Copies through page-locked memory, which alone the GPU reads by itself, on a stream of its own."""

    def __init__(self, batches: Iterator[Batch], device: torch.device) -> None:
        self._batches = batches
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def next(self) -> tuple[DeviceBatch, torch.cuda.Event | None] | None:
        """The next batch, its copy under way, and the end of that; None after the last."""
        batch = next(self._batches, None)
        if batch is None:
            return None
        host = tuple(map(torch.from_numpy, batch.rows))
        if self._stream is None:
            return _on_device(batch, tuple(column.to(self._device) for column in host)), None
        with torch.cuda.stream(self._stream):
            # Torch's allocator of page-locked memory gives it to nobody else before it is copied.
            columns = tuple(
                column.pin_memory().to(self._device, non_blocking=True) for column in host
            )
            copied = torch.cuda.Event()
            copied.record(self._stream)
        return _on_device(batch, columns), copied

    def hand_over(self, batch: DeviceBatch, copied: torch.cuda.Event | None) -> None:
        """Let the training's stream, not the host, wait for the copy."""
        if copied is None:
            return
        training = torch.cuda.current_stream(self._device)
        training.wait_event(copied)
        for column in batch.columns:
            # Otherwise the next copy could be given the memory while the training still reads it.
            column.record_stream(training)


def _on_device(batch: Batch, columns: tuple[Tensor, ...]) -> DeviceBatch:
    return DeviceBatch(
        index=batch.index, global_rows=batch.global_rows, host=batch.rows, columns=columns
    )
