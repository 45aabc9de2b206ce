"""Gets the shards of a split onto this machine, by threads, in the order in which they are needed."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from pathlib import Path

from pipeline_assets.shards.cache import ShardCache
from pipeline_assets.shards.errors import DamagedShard
from pipeline_assets.shards.index import Shard
from pipeline_assets.shards.remote import RemoteFolder

THREADS = 4
"""Downloads of one reader at a time."""
_PAUSE_SECONDS = 0.05


class Downloads:
    """The shards of a split that come through the cache. They stay leased as long as this object lives.

    Args:
        cache: of this node.
        located: shard number to the shard, its `file` relative to its folder, and that folder.
        verify: hash again what the cache holds already, and download it anew where it is damaged.
        on_progress: is called, by threads, when a download of this or another process has come further,
            and while the store is waited for.

    Raises:
        ShardError: the cache has no room for them, or cannot be written.
    """

    def __init__(
        self,
        cache: ShardCache,
        located: dict[int, tuple[Shard, RemoteFolder]],
        *,
        verify: bool,
        on_progress: Callable[[], None] = lambda: None,
    ) -> None:
        self._cache = cache
        self._located = located
        self._on_progress = on_progress
        self._lease = cache.lease([shard for shard, _ in located.values()])
        if verify:
            for shard, _ in located.values():
                cache.verify(shard, on_progress=on_progress)
        self._paths: dict[int, Future[Path]] = {}
        self._queue: deque[int] = deque()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []

    def begin(self, numbers: Iterable[int]) -> None:
        """Start downloading these shards, in this order, before those that were asked for earlier."""
        with self._lock:
            self._begin(numbers)

    def _begin(self, numbers: Iterable[int]) -> None:
        wanted = [number for number in numbers if number in self._located]
        for number in wanted:
            if number not in self._paths:
                self._paths[number] = Future()
                self._queue.append(number)
        rank = {number: at for at, number in enumerate(wanted)}
        self._queue = deque(sorted(self._queue, key=lambda n: rank.get(n, len(rank))))
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        for _ in range(min(THREADS, len(self._queue)) - len(self._threads)):
            # A daemon: the end of the program does not wait for downloads, the next one resumes them.
            thread = threading.Thread(target=self._work, name="downloads", daemon=True)
            self._threads.append(thread)
            thread.start()

    def has(self, number: int) -> bool:
        """Whether a shard is on this machine."""
        with self._lock:
            future = self._paths.get(number)
        return future is not None and future.done() and future.exception() is None

    def path(self, number: int) -> Path:
        """Return where a shard is; wait for it if need be. Raises what its download raised."""
        with self._lock:
            self._begin([number])
            future = self._paths[number]
        return future.result()

    def _work(self) -> None:
        seen: dict[int, int] = {}
        while True:
            with self._lock:
                if not self._queue:
                    # Whoever adds to the queue from now on starts a thread.
                    self._threads.remove(threading.current_thread())
                    return
                number = self._queue.popleft()
            shard, folder = self._located[number]
            try:
                path = self._cache.fetch(shard, folder, wait=False, on_progress=self._on_progress)
            except Exception as error:  # noqa: BLE001 whoever waits for the path raises it
                with self._lock:
                    future = self._paths[number]
                    if not isinstance(error, DamagedShard):
                        # Whoever needs it later has it tried again: by then the reason may have passed.
                        del self._paths[number]
                future.set_exception(error)
                continue
            if path is not None:
                self._paths[number].set_result(path)
                continue
            # Another process is at it: the next one meanwhile.
            if (size := self._cache.downloaded(shard)) != seen.get(number):
                seen[number] = size
                self._on_progress()
            with self._lock:
                self._queue.append(number)
            time.sleep(_PAUSE_SECONDS)
