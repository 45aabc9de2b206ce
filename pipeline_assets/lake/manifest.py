"""What a version says about itself: its files, rows, schema and origin. Reads and writes no storage."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from pipeline_assets.lake.errors import LakeError
from pipeline_assets.lake.storage import check_relative

MANIFEST = "manifest.json"
"""File name of the manifest inside a version."""

_FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class FileEntry:
    """One file of a version."""

    path: str
    """Relative to the version's folder."""
    bytes: int
    """Size."""
    sha256: str
    """SHA-256 of the content, 64 hex digits."""
    rows: int | None = None
    """Rows inside; None for files without rows (plots, reports)."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The description of one sealed version."""

    use_case: str
    asset: str
    partition: str
    """`all` for use cases without time."""
    version: str
    """Identifier of the version: UTC time of staging and a random suffix."""
    data_version: str
    """16 hex digits; equal for equal content (files and schema)."""
    created_at: str
    """ISO 8601, UTC: when the version was sealed."""
    rows: int
    schema: list[tuple[str, str]]
    """Column name and type (Spark DDL), in order."""
    files: list[FileEntry]
    """Sorted by path."""
    upstream: dict[str, str] = field(default_factory=dict)
    """Asset to the data version that this one was made from."""
    run_id: str | None = None
    """The run that published it last."""
    code_version: str = ""
    """Version of the code and settings that made it."""
    metadata: dict[str, Any] = field(default_factory=dict)
    """Anything JSON-safe that readers want without opening files."""

    @property
    def total_bytes(self) -> int:
        """Size of all files."""
        return sum(file.bytes for file in self.files)

    def to_json(self) -> bytes:
        """Return the manifest as JSON."""
        document = {"format": _FORMAT, **asdict(self)}
        try:
            text = json.dumps(document, indent=1, sort_keys=True, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise LakeError(
                f"the manifest of {self.use_case}/{self.asset} is not JSON-safe: {error}; "
                "metadata may hold text, finite numbers, booleans, lists and dicts with text keys"
            ) from error
        return text.encode()

    @classmethod
    def from_json(cls, content: bytes, uri: str) -> "Manifest":
        """Read a manifest found at `uri`. Raises `LakeError` where it is damaged or of a newer format."""
        try:
            document = json.loads(content)
            if document["format"] != _FORMAT:
                raise LakeError(
                    f"{uri} has format {document['format']}, this code reads {_FORMAT}; update the code"
                )
            document["files"] = [FileEntry(**file) for file in document["files"]]
            for file in document["files"]:
                check_relative(file.path)
            document["schema"] = [(name, type_) for name, type_ in document["schema"]]
            return cls(**{f.name: document[f.name] for f in fields(cls)})
        except (ValueError, KeyError, TypeError) as error:
            raise LakeError(
                f"{uri} is damaged ({error}); restore it or publish the asset anew"
            ) from error


def data_version_of(files: Iterable[FileEntry], schema: Sequence[tuple[str, str]]) -> str:
    """Return the 16 hex digits that stand for this content: paths, hashes and schema, whatever order."""
    digest = hashlib.sha256(json.dumps([list(column) for column in schema]).encode())
    for file in sorted(files, key=lambda file: file.path):
        digest.update(f"{file.path}\0{file.sha256}\0".encode())
    return digest.hexdigest()[:16]
