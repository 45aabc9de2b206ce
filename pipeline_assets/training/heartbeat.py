"""Where each rank is, in a small file that the launcher reads; and the stack of a rank on request.

A rank that is stopped or stuck in native code can say nothing itself, so it notes its position in
memory that others can read. Standard library only: the launcher needs no torch.
"""

import faulthandler
import mmap
import os
import signal
import struct
import time
from dataclasses import dataclass
from pathlib import Path

FOLDER = "PIPELINE_HEARTBEATS"
"""Environment variable with the folder of this node's heartbeats."""
STACKS = "stacks"
"""Folder in the output with a text file per rank that has hung."""
DUMP_SIGNAL = signal.SIGUSR1
_LAYOUT = struct.Struct("<qdqq")
_MOMENT, _MOMENT_AT = struct.Struct("<d"), 8
_STARTING, _VALIDATING = -2, -1
_IMPORT_SECONDS = 60.0
"""Allowed for imports, which pass without a sign of life, on top of the watchdog's time."""


class Heartbeat:
    """A rank's own position; does nothing where no launcher watches.

    Args:
        folder: folder of this node's heartbeats, or None.
        rank: global rank.
    """

    def __init__(self, folder: str | None = None, rank: int = 0) -> None:
        self._memory: mmap.mmap | None = None
        if folder is None:
            return
        path = Path(folder) / f"rank-{rank}"
        path.write_bytes(bytes(_LAYOUT.size))
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), _LAYOUT.size)
        # Open for as long as the process lives: the handler writes to its descriptor.
        self._stacks = path.with_name(f"stacks-{rank}.txt").open("wb")
        faulthandler.register(DUMP_SIGNAL, file=self._stacks, all_threads=True)
        self._note(0, _STARTING, time.monotonic() + _IMPORT_SECONDS)

    def starting(self) -> None:
        """Something was done before the first batch."""
        self._note(0, _STARTING)

    def batch(self, epoch: int, batch: int) -> None:
        """A global batch (from 0) of an epoch (from 1) begins."""
        self._note(epoch, batch)

    def validating(self, epoch: int) -> None:
        """Some of the validation after an epoch (from 1) was done."""
        self._note(epoch, _VALIDATING)

    def alive(self) -> None:
        """Something goes on where the rank is. Threads may call this."""
        if self._memory is not None:
            _MOMENT.pack_into(self._memory, _MOMENT_AT, time.monotonic())

    def _note(self, epoch: int, batch: int, at: float | None = None) -> None:
        if self._memory is not None:
            moment = time.monotonic() if at is None else at
            _LAYOUT.pack_into(self._memory, 0, os.getpid(), moment, epoch, batch)


@dataclass(frozen=True, kw_only=True)
class Position:
    """Where a rank was when it was last heard of."""

    rank: int
    pid: int
    at: float
    """Seconds of this machine's monotonic clock."""
    where: str
    """In words."""
    stacks: Path
    """File to which the rank writes its stacks when it gets `DUMP_SIGNAL`."""


def read_positions(folder: Path) -> list[Position]:
    """Return the positions of this node's ranks, in their order; also of those that have ended."""
    positions = []
    for path in folder.glob("rank-*"):
        content = path.read_bytes()
        if len(content) < _LAYOUT.size:
            continue
        pid, at, epoch, batch = _LAYOUT.unpack(content)
        if pid == 0:
            continue
        rank = int(path.name.removeprefix("rank-"))
        where = {
            _STARTING: "before the first batch",
            _VALIDATING: f"in the validation after epoch {epoch}",
        }.get(batch, f"in epoch {epoch}, batch {batch}")
        stacks = path.with_name(f"stacks-{rank}.txt")
        positions.append(Position(rank=rank, pid=pid, at=at, where=where, stacks=stacks))
    return sorted(positions, key=lambda position: position.rank)
