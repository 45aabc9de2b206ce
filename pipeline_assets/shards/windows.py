"""Blocks of shards copied to memory, a window at a time, and batches gathered from them.

At any time there are at most two windows in memory, the one in use and the next one, whatever the
number of rows; everything else is page cache, which the kernel takes back when it needs it.
"""

from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from pipeline_assets.shards.mapped import Rows
from pipeline_assets.shards.opened import OpenShards
from pipeline_assets.shards.order import EpochOrder


class Windows:
    """The windows of an epoch in memory: the one in use, and the next one, which a thread copies.

    Args:
        shards: columns by shard number.
        order: of the epoch.
        pool: of one thread.
    """

    def __init__(self, shards: OpenShards, order: EpochOrder, pool: ThreadPoolExecutor) -> None:
        self._shards = shards
        self._order = order
        self._pool = pool
        self._at = self._ahead = -1
        self._rows: Rows | None = None
        self._permutation: np.ndarray | None = None
        self._next: Future[tuple[Rows, np.ndarray | None]] | None = None

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
        order, blocks = self._order, self._order.blocks_of(window)
        self._read_ahead(window)
        if window + 1 < order.windows:
            self._read_ahead(window + 1)
        total = int(order.window_ends[window]) - order.window_start(window)
        first = self._shards[int(order.shard[blocks.start])].rows
        rows = Rows(*(np.empty((total, *c.shape[1:]), c.dtype) for c in first))
        at = 0
        for block in blocks:
            shard, start = self._shards[int(order.shard[block])], int(order.start[block])
            count = int(order.rows[block])
            for source, target in zip(shard.rows, rows):
                target[at : at + count] = source[start : start + count]
            at += count
        return rows, order.permutation(window)

    def _read_ahead(self, window: int) -> None:
        """Have the disk work on all blocks of a window at once: one after another it would wait."""
        if window <= self._ahead:
            return
        self._ahead = window
        order = self._order
        for block in order.blocks_of(window):
            shard = self._shards.if_here(int(order.shard[block]))
            if shard is not None:
                shard.will_need(int(order.start[block]), int(order.rows[block]))
