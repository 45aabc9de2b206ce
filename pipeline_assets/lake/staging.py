"""A version being written: files, then the manifest (`seal`), then the pointer (`publish`).

The files are written where they will stay, so nothing is copied or renamed on object stores. Until
`publish` has moved the pointer no reader can find them; what a killed run leaves is removed by `prune`.
"""

import json
import secrets
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime
from types import TracebackType
from typing import IO, Any

from pipeline_assets.lake.errors import LakeError
from pipeline_assets.lake.manifest import MANIFEST, FileEntry, Manifest, data_version_of
from pipeline_assets.lake.pointer import RESERVED, PartitionFolder
from pipeline_assets.lake.storage import check_relative
from pipeline_assets.lake.version import Version


def new_version_id() -> str:
    """Return an identifier that sorts by time: `20261231T235959123Z-1f2e3d4c`."""
    now = datetime.now(UTC)
    return f"{now:%Y%m%dT%H%M%S}{now.microsecond // 1000:03d}Z-{secrets.token_hex(4)}"


class StagedVersion:
    """Files on their way to become a version. As a context manager it discards what was not published.

    >>> with dataset.stage() as staged:                                          # doctest: +SKIP
    ...     staged.write_json("statistics.json", {"rows": 3})
    ...     staged.seal(rows=3, schema=[("age", "float")])
    ...     version = staged.publish()
    """

    def __init__(self, folder: PartitionFolder) -> None:
        self._folder = folder
        self.version = new_version_id()
        self.storage = folder.version_storage(self.version)
        self._sealed: Version | None = None
        self._published = False
        folder.announce(self.version)

    def __enter__(self) -> "StagedVersion":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._published:
            self.discard()

    @property
    def uri(self) -> str:
        """Folder that the files are written to, from any host."""
        return self.storage.uri

    @property
    def storage_options(self) -> dict[str, Any]:
        """fsspec options to write the files with."""
        return self.storage.storage_options

    @property
    def asset(self) -> str:
        """Asset that is being written."""
        return self._folder.asset

    @property
    def partition(self) -> str:
        """Partition that is being written."""
        return self._folder.partition

    def path(self, relative: str) -> str:
        """Return the full URI of a file to be written. Raises `LakeError` for paths that leave the folder."""
        return self.storage.path(_check_content(relative))

    def open(self, relative: str, mode: str = "wb") -> AbstractContextManager[IO[bytes]]:
        """Open a staged file to write (`wb`) or read (`rb`) bytes, as a context manager."""
        _check_content(relative)
        if mode == "rb":
            return self.storage.open(relative)
        if mode != "wb":
            raise LakeError(f"mode {mode!r}: staged files are opened with 'rb' or 'wb'")
        self._refuse_sealed()
        return self.storage.create(relative)

    def write_bytes(self, relative: str, content: bytes) -> None:
        """Write a small file at once. Raises `LakeError` where the storage refuses."""
        _check_content(relative)
        self._refuse_sealed()
        self.storage.write_bytes(relative, content)

    def write_json(self, relative: str, content: Any) -> None:
        """Write JSON with sorted keys (NaN is refused), so that equal content gives equal bytes."""
        text = json.dumps(content, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False)
        self.write_bytes(relative, text.encode())

    def seal(
        self,
        *,
        files: Sequence[FileEntry] | None = None,
        rows: int,
        schema: Sequence[tuple[str, str]],
        upstream: Mapping[str, str] | None = None,
        run_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        code_version: str = "",
    ) -> Version:
        """Write the manifest; the version is complete now, and not yet visible.

        Args:
            files: Entries whose hashes are known already (from `write_buckets`, `write_parquet`). All
                other files in the folder are hashed here; None hashes all.
            rows: Rows of the version.
            schema: Column name and type (Spark DDL), in order.
            upstream: Asset to the data version that this one was made from.
            run_id: The run that makes it.
            metadata: JSON-safe facts for readers.
            code_version: Version of the code and settings.

        Raises:
            LakeError: where an entry's file is missing or has another size, or the storage refuses.
        """
        self._refuse_sealed()
        entries = self._entries({file.path: file for file in files or []})
        schema = [(name, type_) for name, type_ in schema]
        manifest = Manifest(
            use_case=self._folder.use_case,
            asset=self._folder.asset,
            partition=self.partition,
            version=self.version,
            data_version=data_version_of(entries, schema),
            created_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
            rows=rows,
            schema=schema,
            files=entries,
            upstream=dict(upstream or {}),
            run_id=run_id,
            code_version=code_version,
            metadata=dict(metadata or {}),
        )
        self.storage.write_bytes(MANIFEST, manifest.to_json())
        self._sealed = Version(storage=self.storage, manifest=manifest, published_at="")
        return self._sealed

    def publish(self) -> Version:
        """Make the sealed version the current one, last and atomically.

        Where the current version has the same content it stays, and only its record of upstream
        versions, run and metadata is renewed; the staged copy is removed. Of concurrent publishers
        the last one wins; the others' versions stay in `Dataset.versions`.

        Raises:
            LakeError: where it is not sealed, was discarded, or the storage refuses.
        """
        if self._sealed is None:
            raise LakeError(f"{self.uri} is not sealed: call seal() before publish()")
        if self._published:
            raise LakeError(f"{self.uri} was published already")
        version = self._folder.publish(self._sealed.manifest)
        self._published = True
        if version.version != self.version:
            self._folder.remove_version(self.version)
        return version

    def discard(self) -> None:
        """Remove the staged files. Raises `LakeError` for a published version."""
        if self._published:
            raise LakeError(f"{self.uri} is published; only prune() removes published versions")
        self._sealed = None
        self._folder.remove_version(self.version)

    def _entries(self, known: dict[str, FileEntry]) -> list[FileEntry]:
        present = self.storage.files()
        for path, entry in known.items():
            _check_content(path)
            if path not in present:
                raise LakeError(f"{self.path(path)} is listed but was not written")
            if present[path] != entry.bytes:
                raise LakeError(
                    f"{self.path(path)} has {present[path]} bytes, its writer reported {entry.bytes}"
                )
        entries = []
        for path in present:
            if path in known:
                entries.append(replace(known[path]))
            else:
                size, sha256 = self.storage.sha256(path)
                entries.append(FileEntry(path=path, bytes=size, sha256=sha256))
        return entries

    def _refuse_sealed(self) -> None:
        if self._sealed is not None:
            raise LakeError(f"{self.uri} is sealed: its files can no longer change")


def _check_content(relative: str) -> str:
    if relative in RESERVED:
        raise LakeError(f"{relative} is written by the lake itself; choose another name")
    return check_relative(relative)
