"""The order of samples in an epoch: a pure function of (seed, epoch, shard index), never of ranks.

Rows are taken in blocks that lie together on disk; the blocks are permuted; runs of permuted blocks
form windows that fit in memory, and the rows of a window are permuted. So reads are sequential
pieces, a data set no larger than one window is shuffled completely, and any position is found
without replay.
"""

import hashlib
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class EpochOrder:
    """Blocks in the order of an epoch, grouped to windows."""

    shard: np.ndarray
    """Shard number of each block, int64 [blocks]."""
    start: np.ndarray
    """First row of each block in its shard, int64 [blocks]."""
    rows: np.ndarray
    """Rows of each block, int64 [blocks]."""
    window_blocks: int
    """Blocks of a window; the last may have fewer."""
    window_ends: np.ndarray
    """Position after the last row of each window, int64 [windows]."""
    key: str | None
    """Names the permutations within windows; None keeps the order."""

    @property
    def windows(self) -> int:
        """Number of windows."""
        return len(self.window_ends)

    def window_start(self, window: int) -> int:
        """Position of a window's first row."""
        return int(self.window_ends[window - 1]) if window else 0

    def window_at(self, position: int) -> int:
        """The window that holds a position."""
        return int(np.searchsorted(self.window_ends, position, side="right"))

    def blocks_of(self, window: int) -> range:
        """Block numbers of a window."""
        first = window * self.window_blocks
        return range(first, min(first + self.window_blocks, len(self.rows)))

    def permutation(self, window: int) -> np.ndarray | None:
        """Row order within a window, int64 [rows]; None for the order as it lies."""
        if self.key is None:
            return None
        rows = int(self.window_ends[window]) - self.window_start(window)
        return _generator(f"{self.key}:{window}").permutation(rows)


def epoch_order(
    shard_rows: list[int],
    *,
    block_rows: int,
    window_rows: int,
    index_hash: str,
    seed: int,
    epoch: int,
    shuffle: bool,
) -> EpochOrder:
    """Order the rows of shards with `shard_rows` rows each for one epoch."""
    counts = [(rows + block_rows - 1) // block_rows for rows in shard_rows]
    shard = np.repeat(np.arange(len(shard_rows)), counts)
    start = np.concatenate([np.arange(count) * block_rows for count in counts])
    rows = np.minimum(block_rows, np.asarray(shard_rows)[shard] - start)
    key = f"{index_hash}:{seed}:{epoch}" if shuffle else None
    if key is not None:
        blocks = _generator(key).permutation(len(rows))
        shard, start, rows = shard[blocks], start[blocks], rows[blocks]
    window_blocks = max(1, window_rows // block_rows)
    ends = np.cumsum(rows)
    last = np.minimum(np.arange(window_blocks, len(rows) + window_blocks, window_blocks), len(rows))
    return EpochOrder(
        shard=shard,
        start=start,
        rows=rows,
        window_blocks=window_blocks,
        window_ends=ends[last - 1],
        key=key,
    )


def slice_of_rank(start: int, rows: int, rank: int, world_size: int) -> tuple[int, int]:
    """Positions [first, after last) of a rank's part of `rows` rows from `start`.

    The parts are equal up to one row, follow each other, and together are everything.
    """
    return start + rank * rows // world_size, start + (rank + 1) * rows // world_size


def _generator(key: str) -> np.random.Generator:
    words = np.frombuffer(hashlib.sha256(key.encode()).digest(), dtype="<u8")
    return np.random.Generator(np.random.Philox(key=words[:2]))
