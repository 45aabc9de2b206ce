"""Which partitions have files that are complete and were not asked for yet: one look at the landing place.

A partition is asked for once for each state of its files (names, sizes, times or content tags). It waits
while a file of it is young, has changed since the look before, or lacks its marker. What was seen is kept
in a cursor of four bytes per partition, however many files there are.
"""

import base64
import datetime as dt
import hashlib
import json
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from pipeline_assets.ingest.landing import LandedFile, Landing, list_landing
from pipeline_assets.spec import Time
from pipeline_assets.spec.partitions import (
    contiguous_ranges,
    is_over,
    keys_between,
    partition_keys,
    partition_name,
)
from pipeline_assets.spec.time import PLACEHOLDER

Reason = Literal["new", "late", "changed"]

PARTITIONS_PER_RUN = 366
"""Longer ranges become several runs."""

_REQUESTED, _BEFORE = 1, 2
"""The state was asked for; one before it was."""
_FLAGS = _REQUESTED | _BEFORE


@dataclass(frozen=True, kw_only=True)
class Request:
    """A range of partitions to be made in one run."""

    first: str
    last: str
    reason: Reason
    why: str
    """The reason as a sentence."""
    run_key: str
    """The same for the same files and cursor: a look that is repeated asks for the same run."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """Outcome of one look."""

    requests: list[Request]
    waiting: list[str]
    """Keys of partitions whose files are not complete yet, in order."""
    cursor: str
    """For the next look."""


@dataclass(kw_only=True)
class _Seen:
    """What former looks saw."""

    newest: str | None = None
    """The latest partition asked for."""
    states: dict[str, int]
    """Key to thirty bits of the hash of its files, and two flags."""
    looks: int = 0
    """Looks that asked for something: files that came back to a former state are asked for again."""

    @classmethod
    def parse(cls, cursor: str | None, time: Time) -> "_Seen | None":
        """The cursor; anything that is not one counts as none."""
        try:
            known = json.loads(cursor or "")
            packed = base64.b64decode(known["states"])
            states = struct.unpack(f"<{len(packed) // 4}I", packed)
            keys = keys_between(time, known["first"], known["last"]) if states else []
            found = {key: state for key, state in zip(keys, states, strict=True) if state}
            return cls(newest=known["newest"], states=found, looks=known.get("looks", 0))
        except (ValueError, KeyError, TypeError, struct.error):
            return None

    def to_text(self, time: Time) -> str:
        """Inverse of `parse`."""
        first, last = min(self.states, default=""), max(self.states, default="")
        keys = keys_between(time, first, last) if self.states else []
        packed = struct.pack(f"<{len(keys)}I", *(self.states.get(key, 0) for key in keys))
        states = base64.b64encode(packed).decode("ascii")
        return json.dumps(
            {
                "newest": self.newest,
                "looks": self.looks,
                "first": first,
                "last": last,
                "states": states,
            }
        )


def look_for_arrivals(uri: str, time: Time, cursor: str | None, *, now: dt.datetime) -> Look:
    """Look at the landing place once.

    Args:
        uri: of the source, with the placeholder `{partition}`; absolute where it is local.
        time: the use case's `time` block.
        cursor: of the look before; None for the first look, which takes files older than the settling
            time for complete.
        now: the clock, with a time zone. Files of partitions that are not over wait for their end.

    Raises:
        IngestError: the place may not be listed.
    """
    landing = list_landing(uri, time)
    before = _Seen.parse(cursor, time)
    seen = before or _Seen(states={})
    states: dict[str, int] = {}
    ready: dict[Reason, list[str]] = {"new": [], "late": [], "changed": []}
    waiting = []
    for key, files in sorted(landing.partitions.items()):
        if not is_over(time, key, now):
            continue
        old, digest = seen.states.get(key, 0), _digest(files)
        same = old & ~_FLAGS == digest
        if same and old & _REQUESTED:
            states[key] = old
            continue
        states[key] = digest | (old & _BEFORE)
        if (same or before is None) and _is_complete(key, files, landing, time, now):
            late = seen.newest is not None and key < seen.newest
            ready["changed" if old & _BEFORE else "late" if late else "new"].append(key)
        else:
            waiting.append(key)
    # The earliest first: the features of later partitions look back to them.
    ranges: list[tuple[str, str, Reason]] = [
        (first, last, reason)
        for reason, keys in ready.items()
        for first, last in _ranges(time, keys)
    ]
    ranges.sort()
    requests = [
        _request(first, last, reason, seen, landing.partitions, time)
        for first, last, reason in ranges[: time.arrivals.runs_per_look]
    ]
    newest = seen.newest
    for request in requests:
        newest = max(newest or request.last, request.last)
        for key in partition_keys(time, request.first, request.last):
            states[key] |= _FLAGS
    looks = seen.looks + bool(requests)
    following = _Seen(newest=newest, states=states, looks=looks).to_text(time)
    return Look(requests=requests, waiting=waiting, cursor=following)


def _is_complete(
    key: str, files: Iterable[LandedFile], landing: Landing, time: Time, now: dt.datetime
) -> bool:
    arrivals = time.arrivals
    for file in files:
        if (
            file.changed is not None
            and now.timestamp() - file.changed < arrivals.settle.total_seconds()
        ):
            return False
        if arrivals.success_marker is not None:
            marker = arrivals.success_marker.replace(PLACEHOLDER, partition_name(key))
            if f"{file.path.rpartition('/')[0]}/{marker}" not in landing.paths:
                return False
    return True


def _ranges(time: Time, keys: Iterable[str]) -> Iterable[tuple[str, str]]:
    for first, last in contiguous_ranges(time, keys):
        inside = partition_keys(time, first, last)
        for at in range(0, len(inside), PARTITIONS_PER_RUN):
            part = inside[at : at + PARTITIONS_PER_RUN]
            yield part[0], part[-1]


def _request(
    first: str,
    last: str,
    reason: Reason,
    seen: _Seen,
    partitions: Mapping[str, list[LandedFile]],
    time: Time,
) -> Request:
    files = [file for key in partition_keys(time, first, last) for file in partitions[key]]
    named = ", ".join(file.path.rpartition("/")[2] for file in files[:3])
    what = named + (f" and {len(files) - 3} more" if len(files) > 3 else "")
    why = {
        "new": f"{what} arrived",
        "late": f"{what} arrived late: {seen.newest} had been requested before",
        "changed": f"{what}: other files than those that were requested before",
    }[reason]
    run_key = f"{first}/{last}/{_hash(files)}/{seen.looks}"
    return Request(first=first, last=last, reason=reason, why=why, run_key=run_key)


def _digest(files: Iterable[LandedFile]) -> int:
    """Thirty bits, never all zero, with room for the flags below them."""
    return (int(_hash(files)[:8], 16) & ~_FLAGS) or 4


def _hash(files: Iterable[LandedFile]) -> str:
    lines = [f"{file.path}\0{file.bytes}\0{file.content}\n" for file in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]
