"""This rank's rows of a window copied to memory, a window at a time, and batches gathered from them.

At any time there are at most two windows in memory, the one in use and the next one, and of both only the
rows that this rank needs, whatever the number of rows; everything else is page cache, which the kernel
takes back when it needs it.
"""

from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from pipeline_assets.shards.mapped import Rows
from pipeline_assets.shards.opened import OpenShards
from pipeline_assets.shards.order import EpochOrder


class _Window(NamedTuple):
    """A rank's rows of a window."""

    rows: Rows
    """As they lie in the shards."""
    order: np.ndarray | None
    """Where each row that batches need next is in `rows`, int64 [n]; None for the order as they lie."""


class Windows:
    """The windows of an epoch in memory: the one in use, and the next one, which a thread copies.

    Args:
        shards: columns by shard number.
        order: of the epoch.
        starts: first position of this rank's part of each batch, ascending, int64 [batches].
        ends: position after the last of each part, int64 [batches].
        pool: of one thread.
    """

    def __init__(
        self,
        shards: OpenShards,
        order: EpochOrder,
        starts: np.ndarray,
        ends: np.ndarray,
        pool: ThreadPoolExecutor,
    ) -> None:
        self._shards = shards
        self._order = order
        self._starts = starts
        self._ends = ends
        self._pool = pool
        self._at = self._following = self._ahead = -1
        self._used = 0
        self._unread: set[int] = set()
        """Blocks whose shard was not here yet when they should have been read ahead."""
        self._window: _Window | None = None
        self._next: Future[_Window] | None = None

    def gather(self, batch: int) -> Rows:
        """This rank's rows of a batch, by its number among the parts; each is asked for once, in order."""
        first, end = int(self._starts[batch]), int(self._ends[batch])
        parts: list[Rows] = []
        while True:
            self._move_to(min(self._order.window_at(first), self._order.windows - 1))
            assert self._window is not None
            stop = min(end, int(self._order.window_ends[self._at]))
            rows, order = self._window
            used = slice(self._used, self._used + stop - first)
            if order is None:
                parts.append(Rows(*(column[used].copy() for column in rows)))
            else:
                parts.append(Rows(*(np.take(column, order[used], axis=0) for column in rows)))
            self._used = used.stop
            first = stop
            if first >= end:
                break
        return parts[0] if len(parts) == 1 else Rows(*map(np.concatenate, zip(*parts)))

    def _move_to(self, window: int) -> None:
        if window == self._at:
            return
        following = self._next if window == self._following else None
        self._window = self._load(window) if following is None else following.result()
        self._at, self._used = window, 0
        self._following = self._after(window)
        more = self._following < self._order.windows
        self._next = self._pool.submit(self._load, self._following) if more else None

    def _after(self, window: int) -> int:
        """The next window that this rank has rows in; batches larger than a window let it pass over some."""
        end = int(self._order.window_ends[window])
        batch = int(np.searchsorted(self._ends, end, side="right"))
        if batch == len(self._ends):
            return self._order.windows
        return self._order.window_at(max(end, int(self._starts[batch])))

    def _load(self, window: int) -> _Window:
        order, blocks = self._order, self._order.blocks_of(window)
        self._read_ahead(window)
        following = self._after(window)
        if following < order.windows:
            self._read_ahead(following)
        needed = self._needed(window)
        total = int(order.window_ends[window]) - order.window_start(window)
        mine = None
        if len(needed) < total:
            mine = np.zeros(total, dtype=bool)
            mine[needed] = True
        first = self._shards[int(order.shard[blocks.start])].rows
        rows = Rows(*(np.empty((len(needed), *c.shape[1:]), c.dtype) for c in first))
        at = before = 0
        for block in blocks:
            shard, start = self._shards[int(order.shard[block])], int(order.start[block])
            shard.will_read(in_order=False)
            if block in self._unread:
                self._unread.remove(block)
                shard.will_need(start, int(order.rows[block]))
            here = slice(start, start + int(order.rows[block]))
            count = here.stop - here.start
            if mine is None:
                for source, target in zip(shard.rows, rows):
                    target[at : at + count] = source[here]
            else:
                picked = np.flatnonzero(mine[before : before + count])
                before += count
                count = len(picked)
                for source, target in zip(shard.rows, rows):
                    # Any other mode than "clip" takes a copy of the target first.
                    np.take(source[here], picked, axis=0, out=target[at : at + count], mode="clip")
            at += count
        if order.key is None:
            return _Window(rows, None)
        return _Window(rows, needed if mine is None else (np.cumsum(mine) - 1)[needed])

    def _needed(self, window: int) -> np.ndarray:
        """Row numbers in the window of what this rank's batches need, in their order, int64 [n]."""
        base, stop = self._order.window_start(window), int(self._order.window_ends[window])
        batches = slice(
            np.searchsorted(self._ends, base, side="right"), np.searchsorted(self._starts, stop)
        )
        starts = np.maximum(self._starts[batches], base) - base
        counts = np.minimum(self._ends[batches], stop) - base - starts
        permutation = self._order.permutation(window)
        if permutation is not None and counts.sum() == stop - base:
            return permutation
        # Ranges one after another: each begins where its first position differs from its place.
        shifts = np.repeat(starts - (np.cumsum(counts) - counts), counts)
        positions = shifts + np.arange(len(shifts))
        return positions if permutation is None else permutation[positions]

    def _read_ahead(self, window: int) -> None:
        """Have the disk work on all blocks of a window at once: one after another it would wait."""
        if window <= self._ahead:
            return
        self._ahead = window
        order = self._order
        for block in order.blocks_of(window):
            shard = self._shards.if_here(int(order.shard[block]))
            if shard is None:
                self._unread.add(block)
            else:
                shard.will_need(int(order.start[block]), int(order.rows[block]))
