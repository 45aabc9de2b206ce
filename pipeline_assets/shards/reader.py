"""Reads shards by memory map; the global batches are the same for any number of ranks.

Each rank copies its own rows of a window, as they lie, to memory and gathers its batches from there; the
next window is copied by a thread meanwhile. Nothing is shared between processes but the page cache.
Shards at a URI come through a cache on this machine's disk.
"""

from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline_assets.shards.cache import ShardCache
from pipeline_assets.shards.index import Shard, ShardIndex, folder_of, load_index
from pipeline_assets.shards.mapped import Rows
from pipeline_assets.shards.opened import OpenShards
from pipeline_assets.shards.order import EpochOrder, epoch_order, slices_of_rank
from pipeline_assets.shards.sources import Sources
from pipeline_assets.shards.verified import VerifiedFiles, state_of
from pipeline_assets.shards.windows import Windows

BLOCK_ROWS = 1024
WINDOW_ROWS = 131_072


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
    """Rows of one split, from a folder of shards.

    Memory does not grow with the rows: `batches` holds the rank's share of two windows of `window_rows` rows
    (4 bytes a numeric feature, 8 a categorical one, 20 a row for label, id and order); beside that, 16 bytes
    a batch of the epoch and 25 for each row of the one window that is being read.

    Args:
        folder: folder with `index.json`, or that file: a local path, or any fsspec URI.
        split: train, validation or test.
        verify: re-hash every file of the split first; of shards at a URI, those that the cache holds
            (others are verified when they are downloaded).
        leave_out: files of the index to treat as if it did not list them.
        block_rows: rows that are read together.
        window_rows: rows shuffled together, in memory twice.
        cache: for shards at a URI; `ShardCache()`, or the one named beside the index, by default.
        storage_options: of fsspec, for a folder at a URI.
        on_progress: is called, by threads, when a download has come further, and while the store is
            waited for: whoever waits for a batch is not stuck.

    Raises:
        ShardError: no index, no rows, a file missing or of another size (it is named); the cache has no
            room. A file that is damaged otherwise, or cannot be downloaded, is named when it is read.
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
        cache: ShardCache | None = None,
        storage_options: dict[str, object] | None = None,
        on_progress: Callable[[], None] = lambda: None,
    ) -> None:
        place = folder_of(folder)
        self.index: ShardIndex = load_index(folder, storage_options).without(leave_out)
        self.split = split
        self.shards: tuple[Shard, ...] = self.index.split(split)
        self._block_rows = block_rows
        self._window_rows = window_rows
        self._hash = self.index.hash
        self._open = OpenShards(
            self.index,
            self.shards,
            folder=place,
            sources=Sources.of(place, storage_options),
            verify=verify,
            cache=cache,
            on_progress=on_progress,
        )

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
        position = start_batch * batch_size
        if position >= self.rows:
            return
        order = self._order(seed, epoch, shuffle)
        self._open.begin(order.shards_from(position).tolist())
        start = np.arange(position, self.rows, batch_size)
        rows = np.minimum(batch_size, self.rows - start)
        starts, ends = slices_of_rank(start, rows, rank, world_size)
        with ThreadPoolExecutor(1, thread_name_prefix="shards") as pool:
            windows = Windows(self._open, order, starts, ends, pool)
            for at in range(len(start)):
                yield Batch(
                    index=start_batch + at, global_rows=int(rows[at]), rows=windows.gather(at)
                )

    def positions(self, *, seed: int = 0, epoch: int = 0) -> np.ndarray:
        """Row numbers, as the shards lie, in the order of an epoch: int64 [rows]. Reads no shard."""
        order = self._order(seed, epoch, shuffle=True)
        before = np.cumsum([0, *(shard.rows for shard in self.shards)])
        starts = before[order.shard] + order.start
        parts = []
        for window in range(order.windows):
            blocks = order.blocks_of(window)
            rows = [np.arange(starts[b], starts[b] + order.rows[b]) for b in blocks]
            parts.append(np.concatenate(rows)[order.permutation(window)])
        return np.concatenate(parts)

    def arrays(self) -> Rows:
        """All rows of the split, in the order of the shards."""
        return Rows(*map(np.concatenate, zip(*self.iter_blocks(self.rows))))

    def iter_blocks(self, rows: int, *, rank: int = 0, world_size: int = 1) -> Iterator[Rows]:
        """Yield a rank's contiguous part in order, at most `rows` at a time, as views."""
        first, end = slices_of_rank(0, self.rows, rank, world_size)
        ends = np.cumsum([shard.rows for shard in self.shards])
        starts = ends - [shard.rows for shard in self.shards]
        needed = np.flatnonzero((ends > first) & (starts < end)).tolist()
        self._open.begin(needed)
        for number in needed:
            shard, at = self._open[number], int(starts[number])
            shard.will_read(in_order=True)
            columns = shard.rows
            low, high = max(first - at, 0), min(end - at, len(columns.row_id))
            for start in range(low, high, rows):
                stop = min(start + rows, high)
                yield Rows(*(column[start:stop] for column in columns))

    def _order(self, seed: int, epoch: int, shuffle: bool) -> EpochOrder:
        return epoch_order(
            [shard.rows for shard in self.shards],
            block_rows=self._block_rows,
            window_rows=self._window_rows,
            index_hash=self._hash,
            seed=seed,
            epoch=epoch,
            shuffle=shuffle,
        )


def verify_shard(
    folder: str | Path,
    index: ShardIndex,
    shard: Shard,
    *,
    download: bool = True,
    verified: VerifiedFiles | None = None,
    on_progress: Callable[[], None] = lambda: None,
) -> None:
    """Re-hash one file.

    Args:
        folder: as for `ShardReader`.
        index: of the folder.
        shard: which.
        download: get one that is at a URI, and not in the cache. Otherwise it passes: it is verified when
            it is downloaded.
        verified: files that it holds are not hashed again; this one is added to it. At a start that is not
            the first one, what the cache holds is not hashed again if it has not changed.
        on_progress: is called, by threads, when download or hashing have come further.

    Raises:
        ShardError: it is missing, or not what the index says.
    """
    place = folder_of(folder)
    sources = Sources.of(place)
    is_remote = sources is not None and sources.locate(shard) is not None
    if sources is not None and is_remote:
        again = verified is not None and not verified.is_first
        sources.cache.verify(shard, only_if_changed=again, on_progress=on_progress)
        if not download:
            return
    path = Path(place) / shard.file
    if not is_remote and verified is not None and verified.holds(path, shard.sha256):
        return
    before = state_of(path)
    OpenShards(
        index,
        (shard,),
        folder=place,
        sources=sources,
        verify=not is_remote,
        on_progress=on_progress,
    )[0]
    if not is_remote and verified is not None and before is not None:
        verified.add(path, before, shard.sha256)
