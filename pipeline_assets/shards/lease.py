"""Which shards of a cache are in use: a file per reader, locked by the kernel as long as it lives."""

import fcntl
import json
import os
import secrets
import weakref
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO


class Lease:
    """The shards that a reader uses, or is going to.

    Args:
        folder: of all leases of a cache.
        sizes: SHA-256 of each shard to its bytes.
    """

    def __init__(self, folder: Path, sizes: Mapping[str, int]) -> None:
        path = folder / f"{os.getpid()}-{secrets.token_hex(4)}"
        file = path.open("w", encoding="ascii")
        fcntl.flock(file, fcntl.LOCK_EX)
        json.dump(dict(sizes), file)
        file.flush()
        self._end = weakref.finalize(self, _end, file, path)

    def close(self) -> None:
        """Give the shards free for eviction; so does the end of the process, and of this object."""
        self._end()


def leased(folder: Path) -> dict[str, int]:
    """SHA-256 to bytes of the shards in all leases of living readers; those of dead ones are removed.

    Leases must not be made meanwhile.
    """
    sizes: dict[str, int] = {}
    for path in folder.iterdir():
        with suppress(FileNotFoundError), path.open("r", encoding="ascii") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                sizes.update(json.load(file))
            else:
                path.unlink()
    return sizes


def _end(file: IO[str], path: Path) -> None:
    path.unlink(missing_ok=True)
    file.close()
