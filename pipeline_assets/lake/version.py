"""A published version, as readers see it. How it came to be is in `staging`."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from pipeline_assets.lake.errors import LakeError
from pipeline_assets.lake.manifest import FileEntry, Manifest, data_version_of
from pipeline_assets.lake.storage import Storage, check_relative


@dataclass(frozen=True, kw_only=True)
class FileProblem:
    """A file that is not what the manifest says."""

    path: str
    """Full URI."""
    message: str
    """What is wrong."""


@dataclass(frozen=True, kw_only=True)
class Version:
    """An immutable version of an asset's partition."""

    storage: Storage
    """The version's folder."""
    manifest: Manifest
    published_at: str
    """ISO 8601, UTC: when it was last published (the same content may be published again)."""

    @property
    def uri(self) -> str:
        """Folder of the version."""
        return self.storage.uri

    @property
    def storage_options(self) -> dict[str, Any]:
        """fsspec options to read the files with."""
        return self.storage.storage_options

    @property
    def version(self) -> str:
        """Identifier of the version."""
        return self.manifest.version

    @property
    def data_version(self) -> str:
        """16 hex digits, equal for equal content."""
        return self.manifest.data_version

    @property
    def rows(self) -> int:
        """Rows of the version, as its producer counted them."""
        return self.manifest.rows

    def files(self, prefix: str = "", suffix: str = "") -> list[FileEntry]:
        """Return the files below a subfolder (`prefix`, "" for all) that end in `suffix`, by path."""
        below = prefix.rstrip("/") + "/" if prefix else ""
        files = self.manifest.files
        return [f for f in files if f.path.startswith(below) and f.path.endswith(suffix)]

    def uris(self, prefix: str = "", suffix: str = "") -> list[str]:
        """Return the full URIs of `files(prefix, suffix)`."""
        return [self.storage.path(file.path) for file in self.files(prefix, suffix)]

    def path(self, relative: str) -> str:
        """Return the full URI of one file. Raises `LakeError` where the manifest does not list it."""
        check_relative(relative)
        if all(file.path != relative for file in self.manifest.files):
            raise LakeError(f"{self.uri} has no file {relative!r}")
        return self.storage.path(relative)

    def open(self, relative: str) -> IO[bytes]:
        """Open one file for reading bytes. Raises `LakeError` where it is unknown or gone."""
        uri = self.path(relative)
        try:
            return self.storage.open(relative)
        except FileNotFoundError as error:
            raise LakeError(f"{uri} is gone; materialise the asset again") from error

    def read_bytes(self, relative: str) -> bytes:
        """Return one file's content. Raises `LakeError`."""
        with self.open(relative) as file:
            return file.read()

    def read_json(self, relative: str) -> Any:
        """Return one JSON file's content. Raises `LakeError`."""
        try:
            return json.loads(self.read_bytes(relative))
        except ValueError as error:
            raise LakeError(f"{self.path(relative)} is not valid JSON: {error}") from error

    def local_path(self) -> Path:
        """Return the version's folder as a path. Raises `LakeError` where the lake is remote."""
        return self.storage.local_root

    def verify(self) -> list[FileProblem]:
        """Hash every file again; an empty list means that all is as published."""
        problems = []
        for file in self.manifest.files:
            uri = self.storage.path(file.path)
            try:
                size, sha256 = self.storage.sha256(file.path)
            except FileNotFoundError:
                problems.append(FileProblem(path=uri, message="is missing"))
                continue
            if size != file.bytes:
                message = f"has {size} bytes, the manifest says {file.bytes}"
                problems.append(FileProblem(path=uri, message=message))
            elif sha256 != file.sha256:
                message = f"has SHA-256 {sha256}, the manifest says {file.sha256}"
                problems.append(FileProblem(path=uri, message=message))
        expected = data_version_of(self.manifest.files, self.manifest.schema)
        if expected != self.data_version:
            message = f"lists content of data version {expected}, claims {self.data_version}"
            problems.append(FileProblem(path=self.storage.path("manifest.json"), message=message))
        return problems
