"""Which partition the files at a `source.uri` belong to, in one listing. What is read of them is elsewhere."""

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fsspec.core import url_to_fs

from pipeline_assets.ingest.errors import IngestError
from pipeline_assets.ingest.sources import is_left_out
from pipeline_assets.spec import Time
from pipeline_assets.spec.partitions import PartitionError, is_over, key_of_name
from pipeline_assets.spec.time import PLACEHOLDER

_SPECIAL = re.compile(r"\{partition\}|[*?\[]")
_NAMES = {"daily": r"\d{4}-\d\d-\d\d", "hourly": r"\d{4}-\d\d-\d\d-\d\d"}


@dataclass(frozen=True, kw_only=True)
class LandedFile:
    """A file that is there."""

    path: str
    """Path in its file system."""
    bytes: int
    content: str
    """Tag of the content where the store has one, else the time of the last change."""
    changed: float | None
    """When the file was last changed or put in place, UNIX seconds; None where the store does not tell."""


@dataclass(frozen=True, kw_only=True)
class Landing:
    """All files at a source's place."""

    partitions: Mapping[str, list[LandedFile]]
    """Key to its files, sorted by path; hidden and unfinished ones left out."""
    paths: frozenset[str]
    """Paths of all files, whatever they are called."""


def list_landing(uri: str, time: Time) -> Landing:
    """List the files below the fixed part of `uri`, and find the partition of each.

    Args:
        uri: of a source, with the placeholder `{partition}`; absolute where it is local.
        time: cuts the partitions.

    Raises:
        IngestError: the place may not be listed. A folder that is not there yet holds no files.
    """
    try:
        fs, path = url_to_fs(uri)
    except (ImportError, ValueError) as error:
        raise IngestError(f"source {uri}: {error}") from error
    special = _SPECIAL.search(path)
    root = path[: special.start() if special else len(path)].rpartition("/")[0]
    pattern, depth = _pattern(path[len(root) + 1 :], _NAMES[time.partition])
    fs.invalidate_cache()
    try:
        found: Any = fs.find(root, maxdepth=depth, detail=True)
    except FileNotFoundError:
        found = {}
    except PermissionError as error:
        raise IngestError(f"source {uri}: may not be listed ({error})") from error
    partitions: dict[str, list[LandedFile]] = {}
    for name, info in sorted(found.items()):
        relative = str(name)[len(root) + 1 :]
        match = pattern.fullmatch(relative)
        if match is None or is_left_out(relative):
            continue
        try:
            key = key_of_name(match["partition"])
        except PartitionError:
            continue  # 2018-02-30 is no day: some other file
        partitions.setdefault(key, []).append(_landed(str(name), info))
    return Landing(partitions=partitions, paths=frozenset(map(str, found)))


def landed_partitions(uri: str, time: Time, *, now: dt.datetime | None = None) -> list[str]:
    """Return the keys of the partitions within `time` that have a file and are over, in order.

    Args:
        uri: as of `list_landing`.
        time: cuts the partitions.
        now: with a time zone; the clock by default.

    Raises:
        IngestError: the place may not be listed.
    """
    moment = now or dt.datetime.now(dt.UTC)
    return [key for key in sorted(list_landing(uri, time).partitions) if is_over(time, key, moment)]


def _landed(path: str, info: Mapping[str, Any]) -> LandedFile:
    times = [_seconds(info.get(name)) for name in ("mtime", "created", "LastModified", "updated")]
    known = [time for time in times if time is not None]
    content = info.get("ETag") or info.get("etag") or (known[0] if known else "")
    return LandedFile(
        path=path,
        bytes=int(info.get("size") or 0),
        content=str(content),
        # A file moved here keeps the time of its content; the file system knows when it came.
        changed=max(known, default=None),
    )


def _seconds(value: Any) -> float | None:
    if isinstance(value, dt.datetime):
        return (value if value.tzinfo else value.replace(tzinfo=dt.UTC)).timestamp()
    return float(value) if isinstance(value, int | float) else None


def _pattern(rest: str, name: str) -> tuple[re.Pattern[str], int | None]:
    """The regular expression of a glob with placeholders, and how deep it reaches; None for any depth."""
    parts, at, seen = [], 0, False
    while at < len(rest):
        if rest.startswith(PLACEHOLDER, at):
            parts.append("(?P=partition)" if seen else f"(?P<partition>{name})")
            at, seen = at + len(PLACEHOLDER), True
        elif rest.startswith("**/", at):
            parts.append("(?:.*/)?")
            at += 3
        elif rest.startswith("**", at):
            parts.append(".*")
            at += 2
        elif rest[at] == "[" and "]" in rest[at:]:
            end = rest.index("]", at)
            parts.append(rest[at : end + 1].replace("[!", "[^", 1))
            at = end + 1
        else:
            parts.append({"*": "[^/]*", "?": "[^/]"}.get(rest[at], re.escape(rest[at])))
            at += 1
    text = "".join(parts)
    plain = rest.replace(PLACEHOLDER, "")
    if not any(character in plain for character in "*?["):
        # A file, or a folder with all below it.
        return re.compile(f"{text}(?:/.+)?"), None
    return re.compile(text), None if "**" in rest else rest.count("/") + 1
