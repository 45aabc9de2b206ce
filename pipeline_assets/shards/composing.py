"""A training set from the shards of several partitions: links to their files under one index.

Nothing is copied where the file system has links, so a partition that is in the training sets of many
dates lies on disk once. Of partitions at a URI only the index is read: who reads the training set gets
their shards through the cache. Which partitions play which part is decided elsewhere (`spec.training_dates`).
"""

import dataclasses
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from pipeline_assets.shards.cache import DEFAULT_CACHE, CacheSettings
from pipeline_assets.shards.errors import ShardError
from pipeline_assets.shards.index import INDEX_FILE, SPLITS, Shard, ShardIndex, load_index
from pipeline_assets.shards.remote import RemoteFolder, is_remote
from pipeline_assets.shards.sources import Sources


class PartitionShards(NamedTuple):
    """The shards of one partition."""

    name: str
    """File-safe name of the partition; the first part of the files' names in the composed index."""
    folder: str | Path
    """Folder with `index.json`: a local path, or any fsspec URI."""
    storage_options: Mapping[str, Any] = MappingProxyType({})
    """Of fsspec, for a URI. Secrets come from the environment."""


def compose_index(
    folder: Path,
    parts: Mapping[str, Sequence[PartitionShards]],
    *,
    copy: bool = False,
    cache: CacheSettings = DEFAULT_CACHE,
) -> ShardIndex:
    """Make `folder` a folder of shards that a `ShardReader` reads, and return its index.

    All rows of a partition belong to the split that it is given for, whatever its own index calls them.
    The shards follow each other in the order given; a partition without rows adds none. The index, and
    so its hash and the order of samples, depends on the partitions' names and content only, not on
    where they lie.

    Args:
        folder: is made; must not hold an index yet.
        parts: split to its partitions, in order.
        copy: copy the files instead of linking to them.
        cache: for shards at a URI, on every machine that reads them.

    Raises:
        ShardError: an unknown split, a partition that is given twice, partitions of different columns
            (named), files that are missing, or a folder that holds an index already.
    """
    _check_names(parts)
    if (folder / INDEX_FILE).exists():
        raise ShardError(f"{folder} holds a shard index already: compose into an empty folder")
    columns: tuple[tuple[str, ...], tuple[str, ...]] | None = None
    first = ""
    shards: list[Shard] = []
    remote: dict[str, RemoteFolder] = {}
    for split in SPLITS:
        for part in parts.get(split, ()):
            index = load_index(part.folder, dict(part.storage_options))
            if is_remote(str(part.folder)):
                remote[part.name] = RemoteFolder(str(part.folder), dict(part.storage_options))
            found = index.numeric, index.categorical
            if columns is None:
                columns, first = found, part.name
            elif found != columns:
                raise ShardError(_difference(first, columns, part.name, found))
            for shard in index.shards:
                file = f"{part.name}/{shard.file}"
                if part.name not in remote:
                    _place(Path(part.folder) / shard.file, folder / file, copy)
                shards.append(dataclasses.replace(shard, file=file, split=split))
    if columns is None:
        raise ShardError("no partitions were given: there is nothing to compose a training set of")
    composed = ShardIndex(numeric=columns[0], categorical=columns[1], shards=tuple(shards))
    _write(folder, composed, remote, cache)
    return composed


def refer_to_index(
    folder: Path,
    uri: str,
    storage_options: Mapping[str, Any] | None = None,
    *,
    cache: CacheSettings = DEFAULT_CACHE,
) -> ShardIndex:
    """Make `folder` a folder from which a `ShardReader` reads the shards at a URI, and return their index.

    Nothing but the index is read here; the shards are downloaded when a reader needs them.

    Args:
        folder: is made; must not hold an index yet.
        uri: folder with `index.json`.
        storage_options: of fsspec. They are written into the folder: secrets come from the environment.
        cache: on every machine that reads the shards.

    Raises:
        ShardError: the index cannot be read, or the folder holds one already.
    """
    if (folder / INDEX_FILE).exists():
        raise ShardError(f"{folder} holds a shard index already: take an empty folder")
    options = dict(storage_options or {})
    index = load_index(uri, options)
    _write(folder, index, {"": RemoteFolder(uri, options)}, cache)
    return index


def _write(
    folder: Path, index: ShardIndex, remote: Mapping[str, RemoteFolder], cache: CacheSettings
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if remote:
        Sources(folders=remote, cache_settings=cache).write(folder)
    # Last: a folder with an index is whole.
    text = json.dumps(index.to_dict(), indent=1, sort_keys=True)
    (folder / INDEX_FILE).write_text(text, encoding="utf-8")


def _check_names(parts: Mapping[str, Sequence[PartitionShards]]) -> None:
    unknown = sorted(set(parts) - set(SPLITS))
    if unknown:
        raise ShardError(f"unknown split {unknown[0]!r}; known are {', '.join(SPLITS)}")
    seen: dict[str, str] = {}
    for split, partitions in parts.items():
        for part in partitions:
            if part.name in seen:
                raise ShardError(
                    f"partition {part.name} is given for {seen[part.name]} and for {split}: "
                    "its rows would be seen twice"
                )
            seen[part.name] = split


def _difference(
    first: str,
    columns: tuple[tuple[str, ...], tuple[str, ...]],
    other: str,
    found: tuple[tuple[str, ...], tuple[str, ...]],
) -> str:
    """A sentence about partitions whose features differ in name, kind or order."""
    expected, got = (
        [*(f"numeric {name}" for name in kinds[0]), *(f"categorical {name}" for name in kinds[1])]
        for kinds in (columns, found)
    )
    missing = [name for name in expected if name not in got]
    added = [name for name in got if name not in expected]
    what = "; ".join(
        f"{verb} {', '.join(names)}"
        for verb, names in (("lacks", missing), ("adds", added))
        if names
    )
    return (
        f"the shards of partition {other} do not have the features of partition {first}: "
        f"{what or 'they are in another order'}. Materialise features and tensor_shards of the "
        "partitions made under the older spec again"
    )


def _place(source: Path, target: Path, copy: bool) -> None:
    if not source.exists():
        raise ShardError(f"shard {source} is missing: materialise tensor_shards again")
    target.parent.mkdir(parents=True, exist_ok=True)
    if copy or not _linked(source, target):
        shutil.copyfile(source, target)


def _linked(source: Path, target: Path) -> bool:
    """Link to a file; false where the file system has no links."""
    try:
        target.symlink_to(source.resolve())
    except (OSError, NotImplementedError):
        return False
    return True
