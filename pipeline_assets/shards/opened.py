"""The shards of one split, opened when they are first used; in their folder, or through the cache."""

import resource
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable
from itertools import count
from pathlib import Path

from pipeline_assets.shards.cache import ShardCache
from pipeline_assets.shards.fetching import Downloads
from pipeline_assets.shards.index import Shard, ShardIndex
from pipeline_assets.shards.mapped import MappedShard, check_file
from pipeline_assets.shards.sources import Sources

_RESERVED_FILES = 256
_MOST_MAPS = 16_384


class _Maps:
    """The files that this process has mapped, of all readers: a map keeps a file descriptor.

    Beyond the bound those that were not used for longest are given up.
    """

    def __init__(self) -> None:
        self._held: OrderedDict[tuple[int, int], MappedShard] = OrderedDict()
        # A reader may end anywhere, also where this very thread holds the lock.
        self._lock = threading.RLock()

    def get(self, reader: int, number: int) -> MappedShard | None:
        with self._lock:
            mapped = self._held.get((reader, number))
            if mapped is not None:
                self._held.move_to_end((reader, number))
            return mapped

    def make_room(self) -> None:
        """Give up maps so that one more is within the bound."""
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = _MOST_MAPS
        if limit != resource.RLIM_INFINITY:
            # The other files and connections of a training need some as well.
            most = min(most, max(limit - _RESERVED_FILES, limit // 2))
        with self._lock:
            # Whoever still has views of one keeps it mapped.
            while len(self._held) >= most:
                self._held.popitem(last=False)

    def put(self, reader: int, number: int, mapped: MappedShard) -> None:
        with self._lock:
            self._held[reader, number] = mapped

    def forget(self, reader: int) -> None:
        with self._lock:
            for key in [key for key in self._held if key[0] == reader]:
                del self._held[key]


_maps = _Maps()
_readers = count()


class OpenShards:
    """Mapped shards by number. Opening reads nothing but the sizes of files that are there.

    Args:
        index: of all shards.
        shards: those of the split.
        folder: that files are relative to, for those that are in no source.
        sources: where files are that are not in the folder.
        verify: hash all files that are there.
        cache: instead of the one that the sources name.
        on_progress: is called, by threads, when a download has come further, and while the store is waited for.

    Raises:
        ShardError: a file is missing, damaged or of another size; the cache has no room.
    """

    def __init__(
        self,
        index: ShardIndex,
        shards: tuple[Shard, ...],
        *,
        folder: str,
        sources: Sources | None,
        verify: bool,
        cache: ShardCache | None = None,
        on_progress: Callable[[], None] = lambda: None,
    ) -> None:
        self._columns = len(index.numeric), len(index.categorical), len(index.labels)
        self._shards = shards
        self._folder = folder
        self._reader = next(_readers)
        weakref.finalize(self, _maps.forget, self._reader)
        located = {}
        for number, shard in enumerate(shards):
            found = None if sources is None else sources.locate(shard)
            if found is not None:
                located[number] = found
            else:
                check_file(self._local(shard), shard, verify=verify, on_progress=on_progress)
        self._downloads: Downloads | None = None
        if located and sources is not None:
            self._downloads = Downloads(
                cache or sources.cache, located, verify=verify, on_progress=on_progress
            )
        self._remote = frozenset(located)

    def begin(self, numbers: Iterable[int]) -> None:
        """Say which shards are needed next, in this order."""
        if self._downloads is not None:
            self._downloads.begin(numbers)

    def if_here(self, number: int) -> MappedShard | None:
        """Return a shard, or None where it would have to be waited for."""
        if self._downloads is not None and number in self._remote:
            return self[number] if self._downloads.has(number) else None
        return self[number]

    def __getitem__(self, number: int) -> MappedShard:
        """Return a shard; waits for its download. Raises `ShardError`."""
        mapped = _maps.get(self._reader, number)
        if mapped is not None:
            return mapped
        shard = self._shards[number]
        if self._downloads is not None and number in self._remote:
            path = self._downloads.path(number)
        else:
            path = self._local(shard)
        _maps.make_room()
        mapped = MappedShard(path, shard, *self._columns)
        _maps.put(self._reader, number, mapped)
        return mapped

    def _local(self, shard: Shard) -> Path:
        return Path(self._folder) / shard.file
