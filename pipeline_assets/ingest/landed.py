"""Which partitions have files: the landing folder is listed once, whatever the number of partitions."""

import re
from collections.abc import Iterable

from fsspec.core import url_to_fs

from pipeline_assets.spec import Source, Time
from pipeline_assets.spec.partitions import PartitionError, key_of_name, partition_keys
from pipeline_assets.spec.time import PLACEHOLDER

_KEY = r"(?P<key>\d{4}-\d\d-\d\d(?:-\d\d)?)"


def landed_partitions(source: Source, time: Time) -> list[str]:
    """Return the keys of the partitions within `time` that have at least one file, in order.

    Files that no partition reads (other names, days before the start) are not looked at.
    """
    # `**` would mean any folders, so a star beside the placeholder stands for both.
    starred = re.sub(rf"\*?{re.escape(PLACEHOLDER)}\*?", "*", source.uri)
    fs, path = url_to_fs(starred)
    _, pattern_path = url_to_fs(source.uri)
    keys = keys_of_paths([str(found) for found in fs.glob(path)], str(pattern_path))
    return [key for key in sorted(keys) if _is_within(time, key)]


def keys_of_paths(paths: Iterable[str], uri: str) -> set[str]:
    """Return the partition keys of the paths that fit a source's `uri` with its placeholder.

    >>> keys_of_paths(["/in/2026-11-21.csv", "/in/2026-11-21-late.csv", "/in/notes.csv"], "/in/{partition}*.csv")
    {'2026-11-21'}
    """
    first, _, rest = uri.partition(PLACEHOLDER)
    # A partition is the same wherever its placeholder stands, e.g. folder and file name.
    later = _glob_pattern(rest.replace(PLACEHOLDER, "\0")).replace("\0", "(?P=key)")
    pattern = re.compile(_glob_pattern(first) + _KEY + later)
    found = set()
    for path in paths:
        match = pattern.fullmatch(path)
        if match is None:
            continue
        try:
            found.add(key_of_name(match["key"]))
        except PartitionError:
            continue  # digits that are no date: another file's name
    return found


def _is_within(time: Time, key: str) -> bool:
    try:
        return bool(partition_keys(time, key, key))
    except PartitionError:
        return False


def _glob_pattern(glob: str) -> str:
    """The regular expression of a glob: `*` and `?` stay within a folder, `**` does not."""
    parts = re.split(r"(\*\*|\*|\?)", glob)
    meaning = {"**": ".*", "*": "[^/]*", "?": "[^/]"}
    return "".join(meaning.get(part, re.escape(part)) for part in parts)
