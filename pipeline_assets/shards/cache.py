"""Shards of an object store on this machine's disk: each downloaded once, whatever reads it.

    <folder>/shards/<SHA-256>.safetensors   whole and verified
    <folder>/partial/<SHA-256>              a download that goes on, or was interrupted
    <folder>/verified/<SHA-256>             how the file was when it was hashed last
    <folder>/leases/<process>-<random>      the shards that a reader uses; see `lease`

Shards are found by their hash, so equal shards of several versions, runs and lakes are stored once.
All ranks and runs of a node may use one folder at the same time; locks are those of the kernel
(`flock`), so nothing stays locked when a process is killed.
"""

import errno
import fcntl
import os
import shutil
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from pipeline_assets.shards.download import complete
from pipeline_assets.shards.errors import ShardError
from pipeline_assets.shards.index import Shard
from pipeline_assets.shards.lease import Lease, leased
from pipeline_assets.shards.remote import RemoteFolder
from pipeline_assets.shards.verified import keep_state, kept_state, sha256_of, state_of

FOLDER_VARIABLE = "PIPELINE_SHARD_CACHE"
SIZE_VARIABLE = "PIPELINE_SHARD_CACHE_GIB"
_SHARE_OF_DISK = 0.8


class CacheSettings(NamedTuple):
    """Arguments of a `ShardCache`, for machines that are not this one."""

    folder: str | None = None
    max_bytes: int | None = None


DEFAULT_CACHE = CacheSettings()


class ShardCache:
    """A cache of shards.

    Args:
        folder: on a local disk; by default the variable `PIPELINE_SHARD_CACHE`, or
            `pipeline_assets/shards` in the user's cache folder.
        max_bytes: bound of what is kept, least recently used shards go first; by default
            `PIPELINE_SHARD_CACHE_GIB`, or four fifths of the disk's space that is free or the cache's.

    Raises:
        ShardError: `PIPELINE_SHARD_CACHE_GIB` is no positive number.
    """

    def __init__(self, folder: str | Path | None = None, max_bytes: int | None = None) -> None:
        self.folder = Path(folder or os.environ.get(FOLDER_VARIABLE) or _users()).expanduser()
        self.max_bytes = max_bytes if max_bytes is not None else _bytes_from_environment()
        """None: a share of the disk."""

    def lease(self, shards: Collection[Shard]) -> Lease:
        """Reserve room for shards, and keep them until the lease is closed or this process ends.

        What no lease names makes room, the least recently used first.

        Raises:
            ShardError: with what other readers use they are larger than the cache may be, or the folder
                cannot be written.
        """
        own = {shard.sha256: shard.bytes for shard in shards}
        try:
            for name in ("shards", "partial", "verified", "leases"):
                (self.folder / name).mkdir(parents=True, exist_ok=True)
            with self._locked():
                others = leased(self.folder / "leases")
                self._make_room(own, others)
                lease = Lease(self.folder / "leases", own)
        except OSError as error:
            raise self._unusable(error) from None
        for shard in shards:
            with suppress(FileNotFoundError):
                # The time of access says when it was used; that of modification, whether it was changed.
                modified = self.path(shard).stat().st_mtime_ns
                os.utime(self.path(shard), ns=(time.time_ns(), modified))
        return lease

    def path(self, shard: Shard) -> Path:
        """Where a shard is, or will be."""
        return self.folder / "shards" / f"{shard.sha256}.safetensors"

    def fetch(
        self,
        shard: Shard,
        source: RemoteFolder,
        *,
        wait: bool = True,
        on_progress: Callable[[], None] = lambda: None,
    ) -> Path | None:
        """Return the path of a leased shard, downloaded if it is not there.

        Args:
            shard: which.
            source: the folder that its `file` is relative to.
            wait: where another process is downloading it, wait for that; otherwise return None.
            on_progress: is called after each piece that is downloaded, and while the store is waited for.

        Raises:
            ShardUnreachable: the store does not answer.
            ShardError: it cannot be downloaded, is not what the index says, or the cache cannot be written.
        """
        target = self.path(shard)
        partial = self._partial(shard)
        try:
            while not target.exists():
                # Unbuffered: closing must not try to write again what the disk has refused.
                with partial.open("ab+", buffering=0) as file:
                    try:
                        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
                    except BlockingIOError:
                        return None
                    # Whoever had the lock has published the file, or given it up.
                    if not _is_same(file.fileno(), partial):
                        continue
                    if target.exists():
                        partial.unlink()
                        continue
                    complete(file, shard, source, on_progress)
                    partial.replace(target)
                    keep_state(self._mark(shard), state_of(target))
        except OSError as error:
            raise self._unusable(error) from None
        return target

    def downloaded(self, shard: Shard) -> int:
        """Bytes of a shard that are there, of whatever process downloads it."""
        for path in (self.path(shard), self._partial(shard)):
            with suppress(FileNotFoundError):
                return path.stat().st_size
        return 0

    def verify(
        self,
        shard: Shard,
        *,
        only_if_changed: bool = False,
        on_progress: Callable[[], None] = lambda: None,
    ) -> None:
        """Hash a shard again if it is there; drop it where its content is not what the index says.

        Args:
            shard: which.
            only_if_changed: do so only where the file is not as it was when it was hashed last.
            on_progress: is called while it is hashed.

        Raises:
            ShardError: the cache cannot be read or written.
        """
        target = self.path(shard)
        state = state_of(target)
        if only_if_changed and state is not None and state == kept_state(self._mark(shard)):
            return
        try:
            with suppress(FileNotFoundError):
                if sha256_of(target, on_progress) == shard.sha256:
                    keep_state(self._mark(shard), state)
                else:
                    target.unlink()
        except OSError as error:
            raise self._unusable(error) from None

    def _mark(self, shard: Shard) -> Path:
        return self.folder / "verified" / shard.sha256

    def _partial(self, shard: Shard) -> Path:
        return self.folder / "partial" / shard.sha256

    def _make_room(self, own: dict[str, int], others: dict[str, int]) -> None:
        kept = []
        for path in (*(self.folder / "shards").iterdir(), *(self.folder / "partial").iterdir()):
            # A download that ends meanwhile is renamed; its shard is in a lease.
            with suppress(FileNotFoundError):
                found = path.stat()
                kept.append((max(found.st_atime, found.st_mtime), found.st_size, path))
        held = sum(size for _, size, _ in kept)
        bound = self.max_bytes
        if bound is None:
            bound = int((shutil.disk_usage(self.folder).free + held) * _SHARE_OF_DISK)
        reserved = others | own
        needed = sum(reserved.values())
        if needed > bound:
            used = needed - sum(own.values())
            also = f", other readers use {used:,} more" if used > 0 else ""
            raise ShardError(
                f"these shards have {sum(own.values()):,} bytes{also}; the shard cache {self.folder} may "
                f"hold {bound:,}: raise {SIZE_VARIABLE}, or set {FOLDER_VARIABLE} to a larger disk"
            )
        free = [item for item in kept if item[2].name.removesuffix(".safetensors") not in reserved]
        excess = needed + sum(size for _, size, _ in free) - bound
        for _, size, path in sorted(free):
            if excess <= 0:
                break
            path.unlink(missing_ok=True)
            name = path.name.removesuffix(".safetensors")
            (self.folder / "verified" / name).unlink(missing_ok=True)
            excess -= size

    def _unusable(self, error: OSError) -> ShardError:
        advice = f"free space there, or set {FOLDER_VARIABLE} to a folder on another local disk"
        if isinstance(error, PermissionError):
            advice = f"let this user write there, or set {FOLDER_VARIABLE} to a folder of its own"
        elif error.errno in (errno.EMFILE, errno.ENFILE):
            advice = "raise the limit of open files (ulimit -n)"
        return ShardError(f"the shard cache {self.folder} cannot be written: {error}; {advice}")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self.folder / "lock").open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _is_same(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _users() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "pipeline_assets" / "shards"


def _bytes_from_environment() -> int | None:
    text = os.environ.get(SIZE_VARIABLE)
    if not text:
        return None
    try:
        gib = float(text)
    except ValueError:
        gib = 0.0
    if not gib > 0:
        raise ShardError(f"{SIZE_VARIABLE} is {text!r}; it must be a positive number of GiB")
    return int(gib * 2**30)
