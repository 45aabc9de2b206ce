"""Downloads one shard: in pieces, from where an earlier download stopped, verified by its hash."""

import os
from collections.abc import Callable
from io import FileIO

from pipeline_assets.shards.errors import DamagedShard
from pipeline_assets.shards.index import Shard
from pipeline_assets.shards.remote import RemoteFolder
from pipeline_assets.shards.verified import sha256_of

PIECE_BYTES = 8 << 20
"""Bytes of one request; an interruption loses no more than this."""
PATIENCE_SECONDS = 300.0
"""Time for which a store that does not answer is waited for. Other ranks may be waiting for this one: less
than what they are given (`timeout_seconds`, 600 by default)."""


def complete(
    file: FileIO, shard: Shard, source: RemoteFolder, on_progress: Callable[[], None] = lambda: None
) -> None:
    """Append what is missing of a shard to a file, and flush it to the disk.

    Args:
        file: open for appending and reading, unbuffered; what it holds was downloaded before, and is kept where the
            whole then has the hash of the index. Nobody else may write to it.
        shard: which.
        source: the folder that its `file` is relative to.
        on_progress: is called after each piece, while the store is waited for, and while what there is is hashed.

    Raises:
        ShardUnreachable: the store does not answer for `PATIENCE_SECONDS`.
        ShardError: the shard cannot be read.
        DamagedShard: it has another size or hash than the index says; the file is emptied.
        OSError: the file cannot be written.
    """
    resumed = _download(file, shard, source, on_progress)
    found = sha256_of(file, on_progress)
    if found != shard.sha256 and resumed:
        # A power cut may have left pages of zeros in what was there.
        file.truncate(0)
        _download(file, shard, source, on_progress)
        found = sha256_of(file, on_progress)
    if found != shard.sha256:
        file.truncate(0)
        raise DamagedShard(
            f"shard {source.path(shard.file)} is corrupted: its SHA-256 is {found}, the index says "
            f"{shard.sha256}: materialise tensor_shards again"
        )
    os.fsync(file.fileno())


def _download(
    file: FileIO, shard: Shard, source: RemoteFolder, on_progress: Callable[[], None]
) -> bool:
    """Append what is missing; return whether something was there."""
    start = at = os.fstat(file.fileno()).st_size
    if start > shard.bytes:
        file.truncate(0)
        start = at = 0
    while at < shard.bytes:
        end = min(at + PIECE_BYTES, shard.bytes)
        piece = source.read(shard.file, at, end, patience=PATIENCE_SECONDS, on_wait=on_progress)
        if not piece:
            file.truncate(0)
            raise DamagedShard(
                f"shard {source.path(shard.file)} has {at} bytes, the index says {shard.bytes}: "
                "materialise tensor_shards again"
            )
        left = memoryview(piece)
        while left:
            left = left[file.write(left) :]
        at += len(piece)
        on_progress()
    return start > 0
