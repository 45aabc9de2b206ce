"""The index of a set of shards: which files, how many rows, which columns, which hashes."""

import dataclasses
import hashlib
import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline_assets.shards.errors import ShardError
from pipeline_assets.shards.remote import RemoteFolder, is_remote

FORMAT_VERSION = 1
INDEX_FILE = "index.json"
SPLITS = ("train", "validation", "test")
UNDIVIDED = "all"
"""The one split of a partition's shards: which part its rows play depends on the training date."""


@dataclass(frozen=True, kw_only=True)
class Shard:
    """One safetensors file, rows in ascending order of `row_id`.

    Tensors: `numeric` f32 [rows, F], `categorical` i64 [rows, C], `label` f32 [rows] (or [rows, labels]
    where the index names labels), `row_id` i64 [rows].
    """

    file: str
    """Path relative to the index."""
    split: str
    """train, validation or test; all for a partition by itself."""
    rows: int
    bytes: int
    sha256: str
    """Of the whole file."""
    row_id_sum: int
    """Sum of `row_id` modulo 2**64, as int64: an epoch that saw every row once has the same sum."""
    label_sum: float
    """Sum of the labels: for labels 0 and 1 the number of positive rows."""


@dataclass(frozen=True, kw_only=True)
class ShardIndex:
    """What `index.json` holds."""

    numeric: tuple[str, ...]
    """Names of the numeric features, in the order of the tensor's columns."""
    categorical: tuple[str, ...]
    """Names of the categorical features, in the order of the tensor's columns."""
    shards: tuple[Shard, ...]
    format_version: int = FORMAT_VERSION
    labels: tuple[str, ...] = ()
    """Names of the labels of a multi-label set, in the order of the tensor's columns; empty: one label,
    without a column axis."""

    def split(self, name: str) -> tuple[Shard, ...]:
        """Shards of a split, in order. Raises `ShardError` for a split that has no rows."""
        shards = tuple(shard for shard in self.shards if shard.split == name)
        if not shards:
            has = ", ".join(sorted({shard.split for shard in self.shards})) or "no rows at all"
            raise ShardError(f"the shards hold no rows of split {name!r} (they hold: {has})")
        return shards

    def without(self, files: Collection[str]) -> "ShardIndex":
        """The index that lists all but some files; it has another hash."""
        kept = tuple(shard for shard in self.shards if shard.file not in files)
        return dataclasses.replace(self, shards=kept)

    @property
    def rows(self) -> int:
        """Rows of all splits."""
        return sum(shard.rows for shard in self.shards)

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that these shards may have."""
        undivided = any(shard.split == UNDIVIDED for shard in self.shards)
        return (UNDIVIDED,) if undivided else SPLITS

    @property
    def split_rows(self) -> dict[str, int]:
        """Split to rows; 0 where it has none."""
        return {name: sum(s.rows for s in self.shards if s.split == name) for name in self.splits}

    @property
    def row_id_sums(self) -> dict[str, int]:
        """Split to the sum of `row_id` modulo 2**64 (0 to 2**64 - 1)."""
        return {
            name: sum(s.row_id_sum for s in self.shards if s.split == name) % 2**64
            for name in self.splits
        }

    def positives(self, name: str) -> float:
        """Sum of the labels of a split: its positive rows."""
        return sum(shard.label_sum for shard in self.shards if shard.split == name)

    @property
    def hash(self) -> str:
        """Sixteen hex digits over the content of all shards and the column names."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:16]

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe form."""
        return {
            "format_version": self.format_version,
            "schema": {
                "numeric": {"dtype": "float32", "features": list(self.numeric)},
                "categorical": {"dtype": "int64", "features": list(self.categorical)},
                "label": {"dtype": "float32"}
                | ({"labels": list(self.labels)} if self.labels else {}),
                "row_id": {"dtype": "int64"},
            },
            "shards": [dataclasses.asdict(shard) for shard in self.shards],
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "ShardIndex":
        """Inverse of `to_dict`.

        Raises:
            ShardError: another format version, or an entry whose file or hash would lead out of the
                folders that shards are kept in.
        """
        if data.get("format_version") != FORMAT_VERSION:
            raise ShardError(
                f"index of format version {data.get('format_version')!r}, this code reads "
                f"{FORMAT_VERSION}: materialise tensor_shards again"
            )
        return cls(
            numeric=tuple(data["schema"]["numeric"]["features"]),
            categorical=tuple(data["schema"]["categorical"]["features"]),
            labels=tuple(data["schema"]["label"].get("labels", ())),
            shards=tuple(_shard(at, entry) for at, entry in enumerate(data["shards"])),
        )


def load_index(place: str | Path, storage_options: dict[str, Any] | None = None) -> ShardIndex:
    """Read `index.json`.

    Args:
        place: the folder that it is in, or the file itself: a local path, or any fsspec URI.
        storage_options: of fsspec, for a URI.

    Raises:
        ShardError: it is not there, cannot be read, or is no index.
    """
    content = _read(place, storage_options)
    try:
        return ShardIndex.from_dict(json.loads(content))
    except ShardError as error:
        raise ShardError(f"{place}: {error}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise ShardError(f"{place} is not a shard index: {error}") from None


def folder_of(place: str | Path) -> str:
    """The folder of an index, given that folder or the file; a path or a URI, as `load_index` takes it."""
    text = str(place)
    if is_remote(text):
        return text.removesuffix(f"/{INDEX_FILE}").rstrip("/")
    path = _local_path(place)
    return str(path if path.is_dir() else path.parent)


def _shard(at: int, entry: dict[str, Any]) -> Shard:
    shard = Shard(**entry)
    # Both become parts of paths, of files that are written and removed.
    if not isinstance(shard.file, str) or not _is_plain(shard.file):
        raise ShardError(
            f"shard {at} of the index has the file {shard.file!r}; it must be a path relative to the "
            "index, without '..': do not use this index, materialise tensor_shards again"
        )
    if not isinstance(shard.sha256, str) or not re.fullmatch("[0-9a-f]{64}", shard.sha256):
        raise ShardError(
            f"shard {at} of the index ({shard.file}) has the SHA-256 {shard.sha256!r}; it must be 64 "
            "lower-case hex digits: do not use this index, materialise tensor_shards again"
        )
    return shard


def _is_plain(file: str) -> bool:
    """Whether a path stays below the folder that it is joined to."""
    return "\0" not in file and all(part not in ("", ".", "..") for part in file.split("/"))


def _read(place: str | Path, storage_options: dict[str, Any] | None) -> bytes:
    if is_remote(str(place)):
        return RemoteFolder(folder_of(place), storage_options).read(INDEX_FILE)
    path = _local_path(place)
    path = path / INDEX_FILE if path.is_dir() else path
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise ShardError(f"no shard index at {path}: materialise tensor_shards first") from None


def _local_path(place: str | Path) -> Path:
    return Path(str(place).removeprefix("file://"))
