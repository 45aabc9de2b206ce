"""Arithmetic of partitions: keys, bounds, history, training dates. What is stored under a key is elsewhere.

A daily partition holds the events from one local midnight to the next, so it lasts 23 or 25 hours where
clocks change; the bounds of all partitions tile time without gaps. Hourly partitions are cut in UTC.
"""

import datetime as dt
import math
from collections.abc import Iterable
from zoneinfo import ZoneInfo

from pipeline_assets.spec.time import PLACEHOLDER, Time
from pipeline_assets.spec.use_case import UseCase

HOUR_FORMAT = "%Y-%m-%d-%H:%M"
"""Keys of hourly partitions, as Dagster writes them."""

_HOUR = dt.timedelta(hours=1)
_DAY = dt.timedelta(days=1)


class PartitionError(ValueError):
    """A key that is no partition of the use case."""


def partition_key(time: Time, instant: dt.datetime) -> str:
    """Return the key of the partition that an event at `instant` (with a time zone) belongs to."""
    if instant.tzinfo is None:
        raise ValueError(f"{instant} has no time zone")
    if time.partition == "hourly":
        return instant.astimezone(dt.UTC).replace(minute=0).strftime(HOUR_FORMAT)
    return instant.astimezone(ZoneInfo(time.timezone)).date().isoformat()


def partition_bounds(time: Time, key: str) -> tuple[dt.datetime, dt.datetime]:
    """Return the first instant of a partition and the first one after it, both in UTC.

    Raises:
        PartitionError: the key is not written as one.
    """
    if time.partition == "hourly":
        start = _hour(key)
        return start, start + _HOUR
    day = _day(key)
    return _midnight(time, day), _midnight(time, day + _DAY)


def partition_keys(time: Time, first: str, last: str) -> list[str]:
    """Return the keys from `first` to `last`, both included, in order; none where `last` is earlier.

    Raises:
        PartitionError: a key that is not written as one, or lies before the start or beyond the end.
    """
    for key in (first, last):
        _check_inside(time, key)
    return keys_between(time, first, last)


def is_over(time: Time, key: str, now: dt.datetime) -> bool:
    """Whether the partition lies within the data's time and has ended by `now` (with a time zone)."""
    try:
        _check_inside(time, key)
    except PartitionError:
        return False
    return partition_bounds(time, key)[1] <= now


def history_keys(time: Time, key: str, count: int) -> list[str]:
    """Return the keys of the `count` partitions before `key`, in order; fewer where the data begin later."""
    begin, end = _begin(time), _position(time, key)
    first = max(begin, end - count * time.length)
    return [
        _key_at(time, first + step * time.length) for step in range((end - first) // time.length)
    ]


def history_partitions(use_case: UseCase) -> int:
    """Return how many partitions before its own the rolling features of an event may look back into.

    Windows have a fixed length, but days do not: where clocks change, a window of thirty days of
    24 hours may reach into the thirty-first local day before.
    """
    time = use_case.time
    if time is None or not use_case.features.rolling:
        return 0
    history = max(rolling.history(time.label_delay) for rolling in use_case.features.rolling)
    if time.partition == "daily":
        history += _clock_changes(time)
    return math.ceil(history / time.length)


def lookback_partitions(use_case: UseCase) -> int:
    """Return how many partitions before its own a key must not have occurred in."""
    time = use_case.time
    return 0 if time is None else math.ceil(time.unique_lookback / time.length)


def naive_timezone(use_case: UseCase) -> str:
    """Return the IANA zone of the raw timestamps that are written without an offset."""
    return "UTC" if use_case.time is None else use_case.time.timezone


def partition_name(key: str) -> str:
    """Return the key as files and folders carry it: hours without their minutes, which are always zero.

    >>> partition_name("2026-11-21"), partition_name("2026-11-21-05:00")
    ('2026-11-21', '2026-11-21-05')
    """
    return key.removesuffix(":00")


def key_of_name(name: str) -> str:
    """Return the key whose `partition_name` is `name`. Raises `PartitionError` for any other text.

    >>> key_of_name("2026-11-21-05")
    '2026-11-21-05:00'
    """
    key = name if len(name) == len("2026-11-21") else f"{name}:00"
    _ = _day(key) if key == name else _hour(key)
    return key


def source_uri(uri: str, key: str) -> str:
    """Return a source's `uri` for one partition."""
    return uri.replace(PLACEHOLDER, partition_name(key))


def contiguous_ranges(time: Time, keys: Iterable[str]) -> list[tuple[str, str]]:
    """Return the first and last key of each run of partitions without a gap, in order.

    >>> contiguous_ranges(Time(column="t", start=dt.date(2026, 1, 1)), ["2026-01-05", "2026-01-02", "2026-01-01"])
    [('2026-01-01', '2026-01-02'), ('2026-01-05', '2026-01-05')]
    """
    ranges: list[tuple[str, str]] = []
    for key in sorted(set(keys)):
        if ranges and _position(time, key) - _position(time, ranges[-1][1]) == time.length:
            ranges[-1] = (ranges[-1][0], key)
        else:
            ranges.append((key, key))
    return ranges


def first_training_date(use_case: UseCase) -> dt.date:
    """Return the first training date before which a whole training and validation period lies.

    Raises:
        ValueError: the use case has no `time` or no `time_split`.
    """
    time, split = use_case.time, use_case.time_split
    if time is None or split is None:
        raise ValueError(
            f"use case {use_case.name} has no training dates: it needs time and time_split"
        )
    needed = time.label_delay
    for period in (split.train, split.gap, split.validation):
        needed += math.ceil(period / time.length) * time.length
    date, begin = time.start, _midnight(time, time.start)
    while _midnight(time, date) - needed < begin or not _is_training_day(use_case, date):
        date += _DAY
    return date


def _is_training_day(use_case: UseCase, date: dt.date) -> bool:
    split = use_case.time_split
    return split is None or split.every == "daily" or date.isoweekday() % 7 == split.weekday


def _clock_changes(time: Time) -> dt.timedelta:
    """Difference of the largest and smallest offset from UTC that the zone has in the data's time."""
    zone = ZoneInfo(time.timezone)
    years = range(time.start.year - 1, (time.end or time.start).year + 30)
    moments = [
        dt.datetime(year, month, day, tzinfo=dt.UTC)
        for year in years
        for month in range(1, 13)
        for day in (1, 15)
    ]
    offsets = [moment.astimezone(zone).utcoffset() or dt.timedelta(0) for moment in moments]
    return max(offsets) - min(offsets)


def _check_inside(time: Time, key: str) -> None:
    position = _position(time, key)
    end = None if time.end is None else dt.datetime.combine(time.end, dt.time())
    if position < _begin(time) or (end is not None and position >= end):
        until = "open" if time.end is None else f"the day before {time.end}"
        raise PartitionError(f"partition {key} is not within {time.start} to {until}")


def keys_between(time: Time, first: str, last: str) -> list[str]:
    """Return the keys from `first` to `last` as `partition_keys`, whether within the data's time or not."""
    start, end = _position(time, first), _position(time, last)
    return [
        _key_at(time, start + step * time.length)
        for step in range(max(0, (end - start) // time.length + 1))
    ]


# Partitions are counted on a calendar without zones, on which all have the same length.


def _begin(time: Time) -> dt.datetime:
    return dt.datetime.combine(time.start, dt.time())


def _position(time: Time, key: str) -> dt.datetime:
    if time.partition == "hourly":
        return _hour(key).replace(tzinfo=None)
    return dt.datetime.combine(_day(key), dt.time())


def _key_at(time: Time, position: dt.datetime) -> str:
    return (
        position.strftime(HOUR_FORMAT)
        if time.partition == "hourly"
        else position.date().isoformat()
    )


def _midnight(time: Time, day: dt.date) -> dt.datetime:
    return dt.datetime.combine(day, dt.time(), ZoneInfo(time.timezone)).astimezone(dt.UTC)


def _day(key: str) -> dt.date:
    try:
        day = dt.date.fromisoformat(key)
    except ValueError:
        day = None
    if day is None or day.isoformat() != key:
        raise PartitionError(f"{key!r} is no partition: days are written as 2026-11-21")
    return day


def _hour(key: str) -> dt.datetime:
    try:
        hour = dt.datetime.fromisoformat(f"{key[:10]}T{key[11:]}").replace(tzinfo=dt.UTC)
    except ValueError:
        hour = None
    if hour is None or hour.minute or hour.strftime(HOUR_FORMAT) != key:
        raise PartitionError(f"{key!r} is no partition: hours are written as 2026-11-21-05:00")
    return hour
