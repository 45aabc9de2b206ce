"""Reads shards by memory map; the global batches are the same for any number of ranks.

Each rank copies whole blocks of a window, in order, to memory and gathers its rows from there; the
next window is copied by a thread meanwhile. Nothing is shared between processes but the page cache.
"""

import hashlib
import json
import mmap
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline_assets.shards.index import Shard, ShardError, ShardIndex, load_index
from pipeline_assets.shards.order import EpochOrder, epoch_order, slice_of_rank

BLOCK_ROWS = 1024
WINDOW_ROWS = 131_072

_DTYPES = {"F32": np.dtype("<f4"), "I64": np.dtype("<i8")}


class Rows(NamedTuple):
    """Columns of some rows."""

    numeric: np.ndarray
    """float32 [n, F], NaN for missing."""
    categorical: np.ndarray
    """int64 [n, C], hashes, 0 for missing."""
    label: np.ndarray
    """float32 [n]."""
    row_id: np.ndarray
    """int64 [n]."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """A rank's part of a global batch. Arrays are the caller's own."""

    index: int
    """Number of the global batch in its epoch."""
    global_rows: int
    """Rows of the global batch, over all ranks."""
    rows: Rows
    """This rank's rows; may be empty in a last batch of fewer rows than ranks."""


class ShardReader:
    """Rows of one split, from a local folder of shards.

    Args:
        folder: folder with `index.json`, or that file.
        split: train, validation or test.
        verify: re-hash every file of the split first.
        leave_out: files of the index to treat as if it did not list them.
        block_rows: rows that are read together.
        window_rows: rows shuffled together, in memory twice.

    Raises:
        ShardError: no index, no rows, a file missing, damaged or of another shape; it is named.
    """

    def __init__(
        self,
        folder: str | Path,
        split: str,
        *,
        verify: bool = False,
        leave_out: Collection[str] = (),
        block_rows: int = BLOCK_ROWS,
        window_rows: int = WINDOW_ROWS,
    ) -> None:
        path = Path(folder)
        self.folder = path if path.is_dir() else path.parent
        self.index: ShardIndex = load_index(path).without(leave_out)
        self.split = split
        self._block_rows = block_rows
        self._window_rows = window_rows
        shards = self.index.split(split)
        columns = len(self.index.numeric), len(self.index.categorical)
        self._shards = [_open(self.folder / s.file, s, *columns, verify) for s in shards]
        self.shards = shards

    @property
    def rows(self) -> int:
        """Rows of the split."""
        return sum(shard.rows for shard in self.shards)

    @property
    def row_id_sum(self) -> int:
        """Sum of all `row_id` modulo 2**64, as int64."""
        total = self.index.row_id_sums[self.split]
        return total - 2**64 if total >> 63 else total

    def batch_count(self, batch_size: int) -> int:
        """Global batches of an epoch; the last may be partial."""
        return -(-self.rows // batch_size)

    def batches(
        self,
        batch_size: int,
        *,
        seed: int = 0,
        epoch: int = 0,
        rank: int = 0,
        world_size: int = 1,
        start_batch: int = 0,
        shuffle: bool = True,
    ) -> Iterator[Batch]:
        """Yield a rank's parts of the global batches of an epoch, from `start_batch` on.

        Global batch k holds `batch_size` rows (the last fewer) and depends on seed, epoch, shards
        and k alone; the ranks' parts are equal up to one row, and none is dropped or repeated.
        """
        order = epoch_order(
            [shard.rows for shard in self.shards],
            block_rows=self._block_rows,
            window_rows=self._window_rows,
            index_hash=self.index.hash,
            seed=seed,
            epoch=epoch,
            shuffle=shuffle,
        )
        position = start_batch * batch_size
        if position >= self.rows:
            return
        with ThreadPoolExecutor(1, thread_name_prefix="shards") as pool:
            windows = _Windows(self._shards, order, pool)
            for index in range(start_batch, self.batch_count(batch_size)):
                start = index * batch_size
                rows = min(batch_size, self.rows - start)
                first, end = slice_of_rank(start, rows, rank, world_size)
                yield Batch(index=index, global_rows=rows, rows=windows.gather(first, end))

    def arrays(self) -> Rows:
        """All rows of the split, in the order of the shards."""
        return Rows(*(np.concatenate(parts) for parts in zip(*self._shards)))

    def iter_blocks(self, rows: int, *, rank: int = 0, world_size: int = 1) -> Iterator[Rows]:
        """Yield a rank's contiguous part in order, at most `rows` at a time, as views."""
        first, end = slice_of_rank(0, self.rows, rank, world_size)
        at = 0
        for shard in self._shards:
            size = len(shard.row_id)
            low, high = max(first - at, 0), min(end - at, size)
            for start in range(low, high, rows):
                stop = min(start + rows, high)
                yield Rows(*(column[start:stop] for column in shard))
            at += size


class _Windows:
    """The windows of an epoch in memory: the one in use, and the next one being copied."""

    def __init__(self, shards: list[Rows], order: EpochOrder, pool: ThreadPoolExecutor) -> None:
        self._shards = shards
        self._order = order
        self._pool = pool
        self._at = -1
        self._rows: Rows | None = None
        self._permutation: np.ndarray | None = None
        self._next = None

    def gather(self, first: int, end: int) -> Rows:
        """Rows at the positions [first, end) of the epoch; positions only ever grow."""
        parts: list[Rows] = []
        while True:
            self._move_to(min(self._order.window_at(first), self._order.windows - 1))
            assert self._rows is not None
            base = self._order.window_start(self._at)
            stop = min(end, int(self._order.window_ends[self._at]))
            if self._permutation is None:
                parts.append(Rows(*(c[first - base : stop - base].copy() for c in self._rows)))
            else:
                rows = self._permutation[first - base : stop - base]
                parts.append(Rows(*(np.take(column, rows, axis=0) for column in self._rows)))
            first = stop
            if first >= end:
                break
        return parts[0] if len(parts) == 1 else Rows(*map(np.concatenate, zip(*parts)))

    def _move_to(self, window: int) -> None:
        if window == self._at:
            return
        following = window == self._at + 1 and self._next is not None
        loaded = self._next.result() if following and self._next else self._load(window)
        self._at = window
        self._rows, self._permutation = loaded
        more = window + 1 < self._order.windows
        self._next = self._pool.submit(self._load, window + 1) if more else None

    def _load(self, window: int) -> tuple[Rows, np.ndarray | None]:
        order = self._order
        total = int(order.window_ends[window]) - order.window_start(window)
        rows = Rows(*(np.empty((total, *c.shape[1:]), c.dtype) for c in self._shards[0]))
        at = 0
        for block in order.blocks_of(window):
            shard, start = self._shards[order.shard[block]], int(order.start[block])
            count = int(order.rows[block])
            for source, target in zip(shard, rows):
                target[at : at + count] = source[start : start + count]
            at += count
        return rows, order.permutation(window)


def verify_shard(folder: Path, index: ShardIndex, shard: Shard) -> None:
    """Re-hash one file. Raises `ShardError` where it is missing or not what the index says."""
    _open(folder / shard.file, shard, len(index.numeric), len(index.categorical), verify=True)


def _open(path: Path, shard: Shard, numeric: int, categorical: int, verify: bool) -> Rows:
    """Map one file. NumPy alone: a reader needs neither torch nor an engine."""
    expected = {
        "numeric": ("F32", (shard.rows, numeric)),
        "categorical": ("I64", (shard.rows, categorical)),
        "label": ("F32", (shard.rows,)),
        "row_id": ("I64", (shard.rows,)),
    }
    try:
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError:
        raise ShardError(f"shard {path} is missing: materialise tensor_shards again") from None
    except (OSError, ValueError) as error:
        raise ShardError(f"shard {path} cannot be read: {error}") from None
    if len(mapped) != shard.bytes:
        raise ShardError(f"shard {path} has {len(mapped)} bytes, the index says {shard.bytes}")
    if verify and hashlib.sha256(mapped).hexdigest() != shard.sha256:
        raise ShardError(f"shard {path} is corrupted: its SHA-256 is not the one in the index")
    try:
        length = int.from_bytes(mapped[:8], "little")
        header = json.loads(mapped[8 : 8 + length])
        found = {name: (header[name]["dtype"], tuple(header[name]["shape"])) for name in expected}
        offsets = {name: 8 + length + header[name]["data_offsets"][0] for name in expected}
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise ShardError(f"shard {path} has a damaged header: {error!r}") from None
    if found != expected:
        raise ShardError(f"shard {path} holds {found}, the index says {expected}")
    return Rows(
        *(
            np.frombuffer(
                mapped, _DTYPES[dtype], int(np.prod(shape)), offset=offsets[name]
            ).reshape(shape)
            for name, (dtype, shape) in expected.items()
        )
    )
