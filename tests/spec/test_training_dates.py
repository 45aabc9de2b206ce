"""Which partitions belong to a training date, and what is said where they are missing."""

import datetime as dt
import itertools
from typing import Any

import pytest

from pipeline_assets.spec import UseCase
from pipeline_assets.spec.partitions import partition_bounds, partition_keys
from pipeline_assets.spec.training_dates import (
    TrainingDateError,
    dealt_partitions,
    require_published,
    training_partitions,
)

SPLIT = {"train": "7d", "gap": "2d", "validation": "3d", "test": "7d"}


def use_case(time: dict[str, Any] | None = None, split: dict[str, Any] | None = None) -> UseCase:
    return UseCase.model_validate(
        {
            "name": "cards",
            "time": {"column": "at", "start": "2018-04-01", "label_delay": "7d", **(time or {})},
            "time_split": SPLIT | (split or {}),
            "source": {"uri": "landing/{partition}.parquet", "format": "parquet"},
            "contract": {"key": ["id"], "columns": [{"name": "id", "type": "int64"}]},
            "features": {
                "columns": [{"name": "id", "kind": "numeric"}],
                "label": {"column": "id"},
            },
        }
    )


def days(first: str, count: int) -> tuple[str, ...]:
    start = dt.date.fromisoformat(first)
    return tuple((start + dt.timedelta(days=n)).isoformat() for n in range(count))


def test_periods_follow_each_other_up_to_the_training_date_and_after_it() -> None:
    found = training_partitions(use_case(), "2018-08-08")
    assert found.test == days("2018-08-08", 7)
    assert found.validation == days("2018-07-29", 3)  # to 07-31: younger labels are unknown
    assert found.train == days("2018-07-20", 7)  # to 07-26, then a gap of two days


@pytest.mark.parametrize("period", ["train", "validation", "test"])
def test_a_period_without_length_is_refused(period: str) -> None:
    with pytest.raises(ValueError, match=rf"time_split.{period}\n.*longer than zero"):
        use_case(split={period: "0d"})
    assert use_case(split={"gap": "0d"}).time_split is not None


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata"])
@pytest.mark.parametrize("partition", ["daily", "hourly"])
@pytest.mark.parametrize("date", ["2018-10-29", "2018-11-05", "2019-04-01", "2018-08-08"])
def test_no_label_younger_than_the_delay_whatever_the_zone(
    zone: str, partition: str, date: str
) -> None:
    if partition == "hourly" and zone != "UTC":
        with pytest.raises(ValueError, match=r"needs time.timezone UTC"):
            use_case({"timezone": zone, "partition": partition})
        return
    case = use_case({"timezone": zone, "partition": partition, "label_delay": "36h"})
    time = case.time
    assert time is not None
    found = training_partitions(case, date)
    test_start = partition_bounds(time, found.test[0])[0]
    known = test_start - dt.timedelta(hours=36)
    for keys in (found.train, found.validation):
        assert all(partition_bounds(time, key)[1] <= known for key in keys)
    bounds = [partition_bounds(time, key) for key in found.train + found.validation + found.test]
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(bounds))
    for keys in found.roles.values():
        assert list(keys) == partition_keys(time, keys[0], keys[-1])
    if partition == "daily":
        # Half of the second day is younger than the delay, and a partition counts as a whole.
        assert found.validation[-1] == str(dt.date.fromisoformat(date) - dt.timedelta(days=3))
        assert {len(found.train), len(found.test)} == {7}


def test_hourly_periods_count_hours() -> None:
    case = use_case(
        {"partition": "hourly", "label_delay": "2h"},
        {"train": "12h", "gap": "0d", "validation": "6h", "test": "3h"},
    )
    found = training_partitions(case, "2018-08-08")
    assert found.test == ("2018-08-08-00:00", "2018-08-08-01:00", "2018-08-08-02:00")
    assert (found.validation[0], found.validation[-1]) == ("2018-08-07-16:00", "2018-08-07-21:00")
    assert (found.train[0], len(found.train)) == ("2018-08-07-04:00", 12)


def test_dates_outside_the_data_are_refused() -> None:
    with pytest.raises(TrainingDateError, match=r"7d of training, 2d of gap.* have 6"):
        training_partitions(use_case(), "2018-04-14")
    assert training_partitions(use_case(), "2018-04-20").train[0] == "2018-04-01"
    with pytest.raises(TrainingDateError, match="tested on 2018-08-08 to 2018-08-14: partition"):
        training_partitions(use_case({"end": "2018-08-14"}), "2018-08-08")
    with pytest.raises(ValueError, match="no time_split"):
        training_partitions(use_case().model_copy(update={"time_split": None}), "2018-08-08")


def test_missing_partitions_are_named_by_role() -> None:
    case = use_case()
    needed = training_partitions(case, "2018-08-08")
    of = {"of": "training date 2018-08-08", "asset": "tensor_shards"}
    published = set(needed.train + needed.validation + needed.test)
    require_published(case, needed.roles, published, **of)
    published -= {"2018-07-22", "2018-07-23", "2018-07-25", "2018-08-14"}
    message = r"needs 4 partitions of tensor_shards .*train: 2018-07-22 to 2018-07-23, 2018-07-25; test: 2018-08-14"
    with pytest.raises(TrainingDateError, match=message):
        require_published(case, needed.roles, published, **of)
    published |= set(needed.train)
    require_published(case, {"train": needed.train}, published, **of)


def test_partitions_are_dealt_by_their_keys_alone() -> None:
    case = use_case().model_copy(update={"time_split": None})
    keys = days("2018-04-01", 200)
    dealt = dealt_partitions(case, keys)
    assert sorted(sum(dealt.values(), ())) == sorted(keys)
    assert len(dealt["train"]) == pytest.approx(140, abs=20)
    fewer = dealt_partitions(case, keys[:150])
    assert set(fewer["test"]) == set(dealt["test"]) & set(keys[:150])
    with pytest.raises(TrainingDateError, match="of 1 partitions of cards none falls to"):
        dealt_partitions(case, keys[:1])
