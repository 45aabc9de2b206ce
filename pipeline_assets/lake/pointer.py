"""One partition's folder: the pointer to its current version, publication, removal of old versions.

{partition}/current.json                     the pointer, replaced atomically
{partition}/versions/<version>/              files; manifest.json once sealed
{partition}/versions/<version>/published.json  once it may become current
"""

import fcntl
import json
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from pipeline_assets.lake.errors import LakeError, cannot_write
from pipeline_assets.lake.manifest import MANIFEST, Manifest
from pipeline_assets.lake.storage import Storage, check_name, flush_folder, make_folder
from pipeline_assets.lake.version import Version

POINTER = "current.json"
PUBLISHED = "published.json"
RESERVED = {MANIFEST, PUBLISHED}
"""Names at the top of a version's folder that are not content."""

ABANDONED_AFTER = timedelta(days=1)
"""Staged files without any change for so long belong to a run that died."""

# What a renewed publication of the same content changes.
_RENEWED = ("upstream", "run_id", "code_version", "metadata")


class PartitionFolder:
    """The folder of one partition of one asset."""

    def __init__(self, storage: Storage, use_case: str, asset: str, partition: str) -> None:
        self.use_case, self.asset = use_case, asset
        self.partition = check_name("partition", partition)
        self.storage = storage

    def version_storage(self, version: str) -> Storage:
        """Return the folder of a version."""
        return self.storage.below("versions", version)

    def announce(self, version: str) -> None:
        """Create the folder of a version to be staged, where the storage has folders."""
        if self.storage.is_local:
            folder = self.version_storage(version).local_root
            try:
                make_folder(folder)
            except OSError as error:
                raise cannot_write(str(folder), error) from error

    def current(self) -> Version | None:
        """Return the current version, None before the first publication. Raises `LakeError`."""
        pointer = self._pointer()
        while pointer is not None:
            version = self._resolve(pointer)
            if version is not None:
                return version
            # It was pruned between the two looks, then the pointer has moved on; or it is lost.
            before, pointer = pointer, self._pointer()
            if pointer == before:
                raise LakeError(
                    f"{self.storage.path(POINTER)} points to version {before['version']}, "
                    "which is gone; publish the asset anew"
                )
        return None

    def versions(self) -> list[Version]:
        """Return the published versions, the newest publication first."""
        current = self.current()
        found = []
        for name in self.storage.folders("versions"):
            if current is not None and name == current.version:
                found.append(current)
            elif (published_at := self._published_at(name)) is not None:
                manifest = self._manifest(name)
                if manifest is not None:
                    found.append(self._version(manifest, published_at))
        return sorted(
            found, key=lambda version: (version.published_at, version.version), reverse=True
        )

    def publish(self, manifest: Manifest) -> Version:
        """Make a sealed version current, or renew the current one where its content is the same."""
        with self._lock():
            current = self._pointer()
            if current is not None and current["data_version"] == manifest.data_version:
                kept = self._manifest(current["version"])
                if kept is not None and self._is_whole(kept):
                    renewed = replace(kept, **{name: getattr(manifest, name) for name in _RENEWED})
                    version = self._point_to(renewed)
                    # Without locks (object stores) a concurrent prune may have removed it meanwhile.
                    if self._manifest(version.version) is not None:
                        return version
            if not self.version_storage(manifest.version).exists(MANIFEST):
                raise LakeError(
                    f"{self.version_storage(manifest.version).uri} is gone: it was discarded"
                )
            now = _now()
            document = json.dumps({"published_at": now}).encode()
            self.version_storage(manifest.version).write_bytes(PUBLISHED, document)
            return self._point_to(manifest)

    def prune(
        self, keep: int, protect: Collection[str] = (), now: datetime | None = None
    ) -> list[str]:
        """Remove old versions and abandoned staging; see `Dataset.prune`."""
        if keep < 1:
            raise LakeError(f"keep is {keep}; at least the current version is kept")
        removed = []
        with self._lock():
            for version in self.versions()[keep:]:
                if version.data_version in protect:
                    continue
                # Asked again each time: without locks a publisher may have moved the pointer.
                pointer = self._pointer()
                if pointer is not None and pointer["version"] != version.version:
                    self.remove_version(version.version)
                    removed.append(version.version)
            for name in self.storage.folders("versions"):
                if self._published_at(name) is None and self._is_abandoned(name, now):
                    self.remove_version(name)
                    removed.append(name)
            self.storage.remove_temporaries((now or datetime.now(UTC)) - ABANDONED_AFTER)
        return removed

    def remove_version(self, version: str) -> None:
        """Remove a version's files, the manifest first: what a kill leaves is no version any more."""
        path = f"versions/{version}"
        for marker in (PUBLISHED, MANIFEST):
            if self.storage.exists(f"{path}/{marker}"):
                self.storage.remove(f"{path}/{marker}")
        self.storage.remove(path)

    def _point_to(self, manifest: Manifest) -> Version:
        pointer = {
            "version": manifest.version,
            "data_version": manifest.data_version,
            "published_at": _now(),
            **{name: getattr(manifest, name) for name in _RENEWED},
        }
        text = json.dumps(pointer, indent=1, sort_keys=True)
        self.storage.write_bytes(POINTER, text.encode())
        return self._version(manifest, pointer["published_at"])

    def _pointer(self) -> dict[str, Any] | None:
        uri = self.storage.path(POINTER)
        try:
            pointer = json.loads(self.storage.read_bytes(POINTER))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise LakeError(f"{uri} is not valid JSON: {error}; publish the asset anew") from error
        if not isinstance(pointer, dict) or not {"version", "data_version", "published_at"} <= set(
            pointer
        ):
            raise LakeError(f"{uri} is damaged; delete it and publish the asset anew")
        return pointer

    def _resolve(self, pointer: dict[str, Any]) -> Version | None:
        manifest = self._manifest(check_name("version", pointer["version"]))
        if manifest is None:
            return None
        renewed = {name: pointer[name] for name in _RENEWED if name in pointer}
        return self._version(replace(manifest, **renewed), pointer["published_at"])

    def _is_whole(self, manifest: Manifest) -> bool:
        """All files are there in their size: publishing the same content again mends a damaged version."""
        present = self.version_storage(manifest.version).files()
        return all(present.get(file.path) == file.bytes for file in manifest.files)

    def _version(self, manifest: Manifest, published_at: str) -> Version:
        storage = self.version_storage(manifest.version)
        return Version(storage=storage, manifest=manifest, published_at=published_at)

    def _manifest(self, version: str) -> Manifest | None:
        storage = self.version_storage(version)
        try:
            return Manifest.from_json(storage.read_bytes(MANIFEST), storage.path(MANIFEST))
        except FileNotFoundError:
            return None

    def _published_at(self, version: str) -> str | None:
        try:
            return json.loads(self.version_storage(version).read_bytes(PUBLISHED))["published_at"]
        except FileNotFoundError:
            return None

    def _is_abandoned(self, version: str, now: datetime | None) -> bool:
        try:
            started = datetime.strptime(version[:18], "%Y%m%dT%H%M%S%f").replace(tzinfo=UTC)
        except ValueError:
            return False  # not named by this package: none of its business
        changed = self.storage.newest_change(f"versions/{version}") or started
        return (now or datetime.now(UTC)) - max(started, changed) > ABANDONED_AFTER

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """Publishers and pruners of a local lake take turns; object stores have no such lock."""
        if not self.storage.is_local:
            yield
            return
        path = self.storage.local_root / ".lock"
        try:
            make_folder(path.parent)
            file = path.open("ab")
            flush_folder(path.parent)
        except OSError as error:
            raise cannot_write(str(path), error) from error
        with file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
