"""Where the shards of an index are, if not beside it: a small file, `sources.json`, next to `index.json`.

The index itself says nothing of places, so the order of samples is the same wherever the shards lie.
URIs and storage options are written as they were given: credentials belong into the environment, not in
there. In case they are, only the user who wrote the file may read it.
"""

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline_assets.shards.cache import DEFAULT_CACHE, CacheSettings, ShardCache
from pipeline_assets.shards.errors import ShardError
from pipeline_assets.shards.index import Shard
from pipeline_assets.shards.remote import RemoteFolder, is_remote

SOURCES_FILE = "sources.json"


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Folders at URIs, and the cache that their shards go through."""

    folders: Mapping[str, RemoteFolder]
    """First part of the files' names in the index to the folder that the rest is relative to; "" for all
    other files."""
    cache_settings: CacheSettings = DEFAULT_CACHE
    """The cache on every node."""

    @classmethod
    def of(cls, folder: str, storage_options: dict[str, Any] | None = None) -> "Sources | None":
        """The sources of a folder: itself if it is a URI, else what its `sources.json` says.

        Args:
            folder: a local path, or any fsspec URI.
            storage_options: of fsspec, for a URI.

        Returns None for a local folder without `sources.json`: it holds its shards.

        Raises:
            ShardError: `sources.json` is damaged, or this user may not read it.
        """
        if is_remote(folder):
            return cls(folders={"": RemoteFolder(folder, storage_options)})
        path = Path(folder) / SOURCES_FILE
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            folders = {name: RemoteFolder(**place) for name, place in data["folders"].items()}
            return cls(folders=folders, cache_settings=CacheSettings(**data["cache"]))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ShardError(
                f"{path} cannot be read: {error}; read these shards as the user who wrote it"
            ) from None
        except (ValueError, KeyError, TypeError) as error:
            raise ShardError(f"{path} is damaged: {error!r}") from None

    def write(self, folder: Path) -> None:
        """Write `sources.json` into a folder, for this user alone (mode 0600)."""
        data = {
            "folders": {
                name: {"uri": place.uri, "storage_options": place.storage_options}
                for name, place in self.folders.items()
            },
            "cache": self.cache_settings._asdict(),
        }
        text = json.dumps(data, indent=1, sort_keys=True)
        path = folder / SOURCES_FILE
        # What an earlier attempt left would keep its mode.
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)

    @property
    def cache(self) -> ShardCache:
        """The cache of this node."""
        return ShardCache(*self.cache_settings)

    def locate(self, shard: Shard) -> tuple[Shard, RemoteFolder] | None:
        """The shard with its `file` relative to the folder that it is in; None if it is in no source."""
        first, _, rest = shard.file.partition("/")
        if first and first in self.folders:
            return dataclasses.replace(shard, file=rest), self.folders[first]
        return (shard, self.folders[""]) if "" in self.folders else None
