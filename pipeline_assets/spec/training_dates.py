"""Which partitions a model of one training date is trained, validated and tested on.

Periods are counted in whole partitions, rounded up. The test begins with the first partition after local midnight of
the training date. Validation ends with the last one that is wholly older than the label delay by then,
by the clock: in the week after clocks went forward that is a day earlier.
"""

import datetime as dt
import hashlib
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from pipeline_assets.spec.duration import format_duration
from pipeline_assets.spec.partitions import (
    PartitionError,
    contiguous_ranges,
    history_keys,
    partition_bounds,
    partition_key,
    partition_keys,
)
from pipeline_assets.spec.time import Time
from pipeline_assets.spec.use_case import UseCase


class TrainingDateError(ValueError):
    """A training date without the partitions that it needs."""


@dataclass(frozen=True, kw_only=True)
class TrainingPartitions:
    """Keys of the partitions of one training date, in order of time, no key twice."""

    date: dt.date
    """The training date."""
    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]

    @property
    def roles(self) -> dict[str, tuple[str, ...]]:
        """`train`, `validation`, `test` to their keys."""
        return {"train": self.train, "validation": self.validation, "test": self.test}


def training_partitions(use_case: UseCase, date: str | dt.date) -> TrainingPartitions:
    """Return the partitions of a training date.

        train | gap | validation | label delay | date, test

    Raises:
        ValueError: the use case has no `time` or no `time_split`, or `date` is no date.
        TrainingDateError: the data begin too late for the date, or end before its test period does.
    """
    time, split = use_case.time, use_case.time_split
    if time is None or split is None:
        raise ValueError(f"use case {use_case.name} has no time_split, and so no training dates")
    day = date if isinstance(date, dt.date) else dt.date.fromisoformat(date)
    midnight = dt.datetime.combine(day, dt.time(), ZoneInfo(time.timezone)).astimezone(dt.UTC)
    first = partition_key(time, midnight)
    if partition_bounds(time, first)[0] < midnight:
        first = _next(time, first)
    train, gap, validation, test = (
        math.ceil(length / time.length)
        for length in (split.train, split.gap, split.validation, split.test)
    )
    tested = [first]
    while len(tested) < test:
        tested.append(_next(time, tested[-1]))
    delay = math.ceil(time.label_delay / time.length) + 2
    before = [
        key
        for key in history_keys(time, first, delay + validation + gap + train)
        if partition_bounds(time, key)[1] <= midnight - time.label_delay
    ]
    if len(before) < validation + gap + train:
        raise TrainingDateError(
            f"training date {day} of {use_case.name} lies too early: {split_text(use_case)} need "
            f"{validation + gap + train} {time.partition} partitions with known labels before it, the "
            f"data begin on {time.start} and have {len(before)}"
        )
    try:
        partition_keys(time, first, tested[-1])
    except PartitionError as error:
        raise TrainingDateError(
            f"training date {day} of {use_case.name} is tested on {_range(first, tested[-1])}: {error}"
        ) from None
    end = len(before) - validation - gap
    return TrainingPartitions(
        date=day,
        train=tuple(before[end - train : end]),
        validation=tuple(before[len(before) - validation :]),
        test=tuple(tested),
    )


def split_text(use_case: UseCase) -> str:
    """The periods of the use case's models in words, e.g. for a message."""
    time, split = use_case.time, use_case.time_split
    assert time is not None and split is not None
    periods = (
        (split.train, "of training"),
        (split.gap, "of gap"),
        (split.validation, "of validation"),
        (time.label_delay, "of label delay"),
    )
    return ", ".join(f"{format_duration(length)} {what}" for length, what in periods if length)


def dealt_partitions(use_case: UseCase, keys: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Deal whole partitions to train, validation and test by hash of their keys, in the split's shares.

    For a use case with `time` and without `time_split`. Partitions of training then lie after some of the
    test: such a test is too good, because the future is known.

    Raises:
        TrainingDateError: a part gets no partition.
    """
    split = use_case.split
    dealt: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
    for key in sorted(keys):
        digest = hashlib.sha256(f"{use_case.split_seed}:{key}".encode()).digest()
        share = int.from_bytes(digest[:8], "big") / 2**64
        train, validation = split.train, split.train + split.validation
        role = "train" if share < train else "validation" if share < validation else "test"
        dealt[role].append(key)
    empty = [role for role, own in dealt.items() if not own]
    if empty:
        raise TrainingDateError(
            f"of {len(keys)} partitions of {use_case.name} none falls to {' and '.join(empty)}: publish "
            "more partitions, or declare a time_split"
        )
    return {role: tuple(own) for role, own in dealt.items()}


def require_published(
    use_case: UseCase,
    needed: Mapping[str, Sequence[str]],
    published: Collection[str],
    *,
    of: str,
    asset: str,
) -> None:
    """Refuse a training set some of whose partitions are not published. Empty ones are published, too.

    Args:
        use_case: whose they are.
        needed: role (train, validation, test or a word of the caller) to keys.
        published: keys of the published partitions of `asset`.
        of: what needs them, e.g. `training date 2018-08-08`.
        asset: that the message speaks of.

    Raises:
        TrainingDateError: names the missing partitions, by role.
    """
    assert use_case.time is not None
    gaps = {role: [key for key in keys if key not in published] for role, keys in needed.items()}
    count = sum(map(len, gaps.values()))
    if not count:
        return
    named = "; ".join(
        f"{role}: {', '.join(_range(*ends) for ends in contiguous_ranges(use_case.time, keys))}"
        for role, keys in gaps.items()
        if keys
    )
    many = count > 1
    raise TrainingDateError(
        f"{of} of {use_case.name} needs {count} partition{'s' if many else ''} of {asset} that "
        f"{'are' if many else 'is'} not published ({named}): materialise {'them' if many else 'it'} "
        "first. A partition without any event is published empty"
    )


def _range(first: str, last: str) -> str:
    return first if first == last else f"{first} to {last}"


def _next(time: Time, key: str) -> str:
    return partition_key(time, partition_bounds(time, key)[1])
