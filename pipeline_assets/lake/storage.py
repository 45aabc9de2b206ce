"""Files below one URI: whole-file atomic writes, listing, reading, removal. Knows no versions.

Local files are written under a temporary name, flushed to the disk, then renamed, and their folder is
flushed too: a kill or a power cut leaves the old file or the new one. Object stores put whole objects.
"""

import hashlib
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import fsspec
from fsspec.implementations.local import make_path_posix

from pipeline_assets.lake.errors import LakeError, cannot_read, cannot_write

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.=+-]*")
_TEMPORARY = re.compile(r"\..+\.tmp")
_CHUNK = 1 << 20


def check_name(kind: str, name: str) -> str:
    """Return `name` if it can be one folder of a URI. Raises `LakeError` otherwise."""
    if not _NAME.fullmatch(name):
        raise LakeError(
            f"{kind} {name!r} cannot be a folder name: use letters, digits and _ . = + -, "
            "and begin with a letter, a digit or _"
        )
    return name


def check_relative(path: str) -> str:
    """Return `path` if it is relative, inside its folder and written plainly. Raises `LakeError`."""
    parts = path.split("/")
    if not path or any(not _NAME.fullmatch(part) for part in parts):
        raise LakeError(
            f"path {path!r} does not name a file inside a version: use a relative path such as "
            "rows/part-00000.parquet of letters, digits and _ . = + -"
        )
    return path


class Storage:
    """A folder at any fsspec URI. Plain local paths and `file://` become `file:///absolute/path`."""

    def __init__(self, uri: str, storage_options: dict[str, Any] | None = None) -> None:
        self.storage_options = dict(storage_options or {})
        protocol, separator, _ = uri.partition("://")
        if not separator or protocol in ("file", "local"):
            self.uri = "file://" + str(
                make_path_posix(uri.partition("://")[2] if separator else uri)
            )
        else:
            self.uri = uri
        self.uri = self.uri.rstrip("/")

    def below(self, *parts: str) -> "Storage":
        """Return a folder below this one."""
        return Storage("/".join([self.uri, *parts]), self.storage_options)

    @property
    def is_local(self) -> bool:
        """The folder is on a local (or mounted) file system."""
        return self.uri.startswith("file://")

    @property
    def local_root(self) -> Path:
        """The folder as a path. Raises `LakeError` for remote storage."""
        if not self.is_local:
            raise LakeError(f"{self.uri} is not a local folder; read it through its URI instead")
        return Path(self.uri.removeprefix("file://"))

    @cached_property
    def fs(self) -> fsspec.AbstractFileSystem:
        """The fsspec file system. Raises `LakeError` where its package is not installed."""
        try:
            return fsspec.core.url_to_fs(self.uri, **self.storage_options)[0]
        except (ImportError, ValueError) as error:
            raise LakeError(f"no file system for {self.uri}: {error}") from error

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Storage):
            return NotImplemented
        return (self.uri, self.storage_options) == (other.uri, other.storage_options)

    def __hash__(self) -> int:
        return hash(self.uri)

    def __getstate__(self) -> dict[str, Any]:
        return {"uri": self.uri, "storage_options": self.storage_options}

    def path(self, relative: str = "") -> str:
        """Return the full URI of a file below this folder."""
        return f"{self.uri}/{relative}" if relative else self.uri

    def _native(self, relative: str = "") -> str:
        return str(self.fs._strip_protocol(self.path(relative)))

    def exists(self, relative: str) -> bool:
        """Whether that file or folder exists (asked from the store, never from a cache)."""
        self.fs.invalidate_cache()
        return bool(self.fs.exists(self._native(relative)))

    def open(self, relative: str) -> IO[bytes]:
        """Open a file for reading bytes. Raises `FileNotFoundError`."""
        return self.fs.open(self._native(relative), "rb")  # pyright: ignore[reportReturnType]

    def read_bytes(self, relative: str) -> bytes:
        """Return a file's content. Raises `FileNotFoundError`, `LakeError` for any other failure."""
        try:
            with self.open(relative) as file:
                return file.read()
        except FileNotFoundError:
            raise
        except OSError as error:
            raise cannot_read(self.path(relative), error) from error

    @contextmanager
    def create(self, relative: str) -> Iterator[IO[bytes]]:
        """Write a file in pieces. Locally it appears whole or not at all, replacing one of that name.

        On an object store a failed writer may leave a partial object: stream only to staged files,
        which nobody reads before a manifest names them, and `write_bytes` everything else.

        Raises:
            LakeError: where the storage refuses (full, read-only, too large).
        """
        if self.is_local:
            with self._create_local(relative) as file:
                yield file
            return
        try:
            with self.fs.open(self._native(relative), "wb") as file:
                yield file  # pyright: ignore[reportReturnType]
        except OSError as error:
            raise cannot_write(self.path(relative), error) from error

    @contextmanager
    def _create_local(self, relative: str) -> Iterator[IO[bytes]]:
        target = self.local_root / relative
        temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
        try:
            make_folder(target.parent)
            with temporary.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
            flush_folder(target.parent)
        except BaseException as error:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise cannot_write(self.path(relative), error) from error
            raise

    def write_bytes(self, relative: str, content: bytes) -> None:
        """Write a file at once and atomically. Raises `LakeError`."""
        if self.is_local:
            with self._create_local(relative) as file:
                file.write(content)
            return
        try:
            self.fs.pipe_file(self._native(relative), content)
        except OSError as error:
            raise cannot_write(self.path(relative), error) from error

    def files(self, relative: str = "") -> dict[str, int]:
        """Return relative path to size in bytes of all files below, sorted; temporary files excluded."""
        self.fs.invalidate_cache()
        root = self._native(relative)
        prefix = self._native().rstrip("/") + "/"
        found: Any = self.fs.find(root, detail=True)
        return {
            path.removeprefix(prefix): int(info["size"])
            for path, info in sorted(found.items())
            if not _TEMPORARY.fullmatch(path.rsplit("/", 1)[-1])
        }

    def folders(self, relative: str = "") -> list[str]:
        """Return the names of the folders directly below, sorted; none where nothing is there."""
        self.fs.invalidate_cache()
        try:
            entries = self.fs.ls(self._native(relative), detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return []
        names = {
            str(e["name"]).rstrip("/").rsplit("/", 1)[-1]
            for e in entries
            if e["type"] == "directory"
        }
        return sorted(name for name in names if _NAME.fullmatch(name))

    def newest_change(self, relative: str) -> datetime | None:
        """Return when the newest file below was written; None where there is none or nothing is known."""
        newest = None
        for path in self.fs.find(self._native(relative)):
            with suppress(NotImplementedError, FileNotFoundError):
                changed = self.fs.modified(path)
                changed = changed if changed.tzinfo else changed.replace(tzinfo=UTC)
                newest = changed if newest is None else max(newest, changed)
        return newest

    def remove_temporaries(self, older_than: datetime) -> None:
        """Remove what killed writers left directly in this folder; object stores leave nothing."""
        if not self.is_local or not self.local_root.is_dir():
            return
        for path in self.local_root.iterdir():
            with suppress(FileNotFoundError):
                if (
                    _TEMPORARY.fullmatch(path.name)
                    and path.stat().st_mtime < older_than.timestamp()
                ):
                    path.unlink()

    def remove(self, relative: str) -> None:
        """Remove a file or folder; one that is not there (any more) is no error."""
        with suppress(FileNotFoundError):
            self.fs.rm(self._native(relative), recursive=True)
        self.fs.invalidate_cache()

    def sha256(self, relative: str) -> tuple[int, str]:
        """Return size in bytes and SHA-256 (hex) of a file."""
        digest, size = hashlib.sha256(), 0
        with self.open(relative) as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
                size += len(chunk)
        return size, digest.hexdigest()


def make_folder(folder: Path) -> None:
    """Create a local folder with its parents, each of them flushed to the disk."""
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for new in reversed(missing):
        new.mkdir(exist_ok=True)
        flush_folder(new.parent)


def flush_folder(folder: Path) -> None:
    """Make creations, renames and removals inside a local folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
