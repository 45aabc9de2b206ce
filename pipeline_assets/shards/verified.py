"""Hashes files, and notes by what a change would show, so that unchanged ones need not be hashed again."""

import hashlib
import json
import os
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import Any, NamedTuple

_PIECE_BYTES = 4 << 20


class FileState(NamedTuple):
    """What changes when a file is written to or replaced."""

    bytes: int
    modified: int
    """Nanoseconds since 1970."""
    inode: int


class VerifiedFiles:
    """Files of this machine whose content was that of the index, and how they were then.

    Args:
        before: `entries` of an earlier start; None where there was none.
    """

    def __init__(self, before: Mapping[str, Any] | None = None) -> None:
        self._before = before or {}
        self.is_first = before is None
        """Whether there was no earlier start."""
        self.entries: dict[str, list[Any]] = {}
        """JSON-safe: path to state and SHA-256, of what was verified in this start or holds since an earlier one."""

    def holds(self, path: Path, sha256: str) -> bool:
        """Whether a file had this hash at an earlier start, and is unchanged."""
        state = state_of(path)
        if state is None or self._before.get(str(path)) != [*state, sha256]:
            return False
        self.add(path, state, sha256)
        return True

    def add(self, path: Path, state: FileState, sha256: str) -> None:
        """Note a file that has this hash.

        Args:
            path: of the file.
            state: from before it was hashed.
            sha256: in hex.
        """
        self.entries[str(path)] = [*state, sha256]


def state_of(path: Path) -> FileState | None:
    """State of a file, None if it is not there."""
    with suppress(FileNotFoundError):
        found = path.stat()
        return FileState(found.st_size, found.st_mtime_ns, found.st_ino)
    return None


def keep_state(path: Path, state: FileState | None) -> None:
    """Write a state to a file of its own, which appears whole; its folder is made."""
    path.parent.mkdir(exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    temporary.write_text(json.dumps(state), encoding="ascii")
    temporary.replace(path)


def kept_state(path: Path) -> FileState | None:
    """The state that a file holds; None where it holds none."""
    # A power cut may leave it empty.
    with suppress(FileNotFoundError, ValueError, TypeError):
        return FileState(*json.loads(path.read_text(encoding="ascii")))
    return None


def sha256_of(file: FileIO | Path, on_progress: Callable[[], None] = lambda: None) -> str:
    """SHA-256 of a whole file, in hex; `on_progress` is called every 4 MiB."""
    if isinstance(file, Path):
        with FileIO(file) as opened:
            return sha256_of(opened, on_progress)
    file.seek(0)
    digest, piece = hashlib.sha256(), memoryview(bytearray(_PIECE_BYTES))
    while count := file.readinto(piece):
        digest.update(piece[:count])
        on_progress()
    return digest.hexdigest()
