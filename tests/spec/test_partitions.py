"""Partition arithmetic: bounds tile time, whatever clocks do; keys, ranges and history agree with them."""

import datetime as dt
import itertools
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_assets.spec import Time, UseCase
from pipeline_assets.spec.partitions import (
    PartitionError,
    contiguous_ranges,
    first_training_date,
    history_keys,
    history_partitions,
    key_of_name,
    partition_bounds,
    partition_key,
    partition_keys,
    partition_name,
    source_uri,
)

UTC = dt.UTC
BERLIN = Time(column="at", start=dt.date(2018, 1, 1), timezone="Europe/Berlin")
HOURLY = Time(column="at", start=dt.date(2018, 1, 1), timezone="Europe/Berlin", partition="hourly")
# Half-hour and midnight clock changes, a day that never was, hours that are not whole.
ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/Sao_Paulo",
    "America/Havana",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Asia/Kathmandu",
)


def use_case(**changes: object) -> UseCase:
    document = {
        "name": "cards",
        "time": {"column": "at", "start": "2018-04-01"},
        "source": {"uri": "landing/{partition}*.parquet", "format": "parquet"},
        "contract": {
            "key": ["id"],
            "columns": [
                {"name": "id", "type": "int64"},
                {"name": "at", "type": "timestamp"},
                {"name": "customer", "type": "string"},
                {"name": "fraud", "type": "int32"},
            ],
        },
        "features": {
            "columns": [{"name": "id", "kind": "numeric"}],
            "label": {"column": "fraud"},
        },
    }
    return UseCase.model_validate(document | changes)


def rolling(window: str, function: str = "count", delay: str = "0d") -> dict[str, object]:
    return {
        "columns": [{"name": "id", "kind": "numeric"}],
        "label": {"column": "fraud"},
        "rolling": [
            {
                "name": "customer",
                "entity": ["customer"],
                "windows": ["1d", window],
                "aggregations": [{"function": function}],
                "delay": delay,
            }
        ],
    }


def test_a_day_is_as_long_as_the_clocks_say():
    def hours(key: str) -> float:
        start, end = partition_bounds(BERLIN, key)
        return (end - start) / dt.timedelta(hours=1)

    assert hours("2018-03-25") == 23
    assert hours("2018-10-28") == 25
    assert hours("2018-10-29") == 24
    assert partition_bounds(BERLIN, "2018-03-25")[0] == dt.datetime(2018, 3, 24, 23, tzinfo=UTC)
    assert partition_bounds(BERLIN, "2018-03-26")[0] == dt.datetime(2018, 3, 25, 22, tzinfo=UTC)


def test_instants_belong_to_the_local_day():
    evening = dt.datetime(2018, 6, 1, 22, 0, tzinfo=UTC)
    assert partition_key(BERLIN, evening) == "2018-06-02"
    assert partition_key(BERLIN, evening - dt.timedelta(microseconds=1)) == "2018-06-01"
    with pytest.raises(ValueError, match="no time zone"):
        partition_key(BERLIN, dt.datetime(2018, 6, 1))


def test_hours_are_cut_in_utc_and_none_occurs_twice_when_clocks_go_back():
    start = dt.datetime(2018, 10, 27, 22, 30, tzinfo=UTC)
    keys = [partition_key(HOURLY, start + step * dt.timedelta(hours=1)) for step in range(25)]
    assert keys[0] == "2018-10-27-22:00"
    assert keys == partition_keys(HOURLY, keys[0], keys[-1])
    assert len(set(keys)) == 25


@settings(max_examples=300, deadline=None)
@given(
    zone=st.sampled_from(ZONES),
    kind=st.sampled_from(("daily", "hourly")),
    instant=st.datetimes(dt.datetime(2005, 1, 1), dt.datetime(2030, 1, 1)),
)
def test_partitions_tile_time(zone: str, kind: str, instant: dt.datetime):
    time = Time(column="at", start=dt.date(2000, 1, 1), timezone=zone, partition=kind)  # pyright: ignore[reportArgumentType]
    at = instant.replace(tzinfo=UTC)
    key = partition_key(time, at)
    start, end = partition_bounds(time, key)
    assert start <= at < end
    following = (at + dt.timedelta(days=3)).astimezone(UTC)
    keys = partition_keys(time, key, partition_key(time, following))
    bounds = [partition_bounds(time, one) for one in keys]
    assert all(one[1] == other[0] for one, other in itertools.pairwise(bounds))
    assert keys == sorted(keys)
    assert history_keys(time, keys[-1], len(keys) - 1) == keys[:-1]
    assert contiguous_ranges(time, reversed(keys)) == [(keys[0], keys[-1])]
    assert key_of_name(partition_name(key)) == key


@settings(max_examples=200, deadline=None)
@given(
    zone=st.sampled_from(ZONES),
    days=st.integers(1, 120),
    instant=st.datetimes(dt.datetime(2018, 6, 1), dt.datetime(2021, 1, 1)),
)
def test_windows_never_reach_behind_their_history(zone: str, days: int, instant: dt.datetime):
    case = use_case(
        time={"column": "at", "start": "2018-01-01", "timezone": zone},
        features=rolling(f"{days}d"),
    )
    assert case.time is not None
    at = instant.replace(tzinfo=UTC)
    key = partition_key(case.time, at)
    reached = partition_key(case.time, at - dt.timedelta(days=days) + dt.timedelta(microseconds=1))
    read = [*history_keys(case.time, key, history_partitions(case)), key]
    assert reached in read


def test_history_counts_labels_and_delays_and_clock_changes():
    assert history_partitions(use_case()) == 0
    assert history_partitions(use_case(features=rolling("30d"))) == 30
    assert history_partitions(use_case(features=rolling("36h"))) == 2
    labelled = {"column": "at", "start": "2018-04-01", "label_delay": "7d"}
    assert history_partitions(use_case(time=labelled, features=rolling("30d"))) == 30
    rate = rolling("30d", "label_rate", delay="1d")
    assert history_partitions(use_case(time=labelled, features=rate)) == 38
    berlin = {"column": "at", "start": "2018-04-01", "timezone": "Europe/Berlin"}
    assert history_partitions(use_case(time=berlin, features=rolling("30d"))) == 31
    hourly = {**berlin, "partition": "hourly"}
    assert history_partitions(use_case(time=hourly, features=rolling("30d"))) == 720


def test_history_begins_with_the_data():
    assert history_keys(BERLIN, "2018-01-03", 30) == ["2018-01-01", "2018-01-02"]
    assert history_keys(BERLIN, "2018-01-01", 30) == []
    assert history_keys(BERLIN, "2018-03-26", 2) == ["2018-03-24", "2018-03-25"]


@pytest.mark.parametrize(
    ("first", "last", "said"),
    [
        ("2018-1-01", "2018-02-01", "'2018-1-01' is no partition"),
        ("2018-01-01", "2018-02-30", "'2018-02-30' is no partition"),
        ("2017-12-31", "2018-02-01", "partition 2017-12-31 is not within 2018-01-01 to open"),
        ("2018-01-01-05:00", "2018-02-01", "days are written as 2026-11-21"),
    ],
)
def test_keys_that_are_none_are_refused(first: str, last: str, said: str):
    with pytest.raises(PartitionError, match=said):
        partition_keys(BERLIN, first, last)


def test_the_end_is_no_partition_any_more():
    time = BERLIN.model_copy(update={"end": dt.date(2018, 2, 1)})
    assert partition_keys(time, "2018-01-31", "2018-01-31") == ["2018-01-31"]
    with pytest.raises(PartitionError, match="the day before 2018-02-01"):
        partition_keys(time, "2018-01-31", "2018-02-01")
    with pytest.raises(PartitionError, match="hours are written as"):
        partition_keys(HOURLY, "2018-01-31", "2018-01-31-05:30")


def test_the_placeholder_becomes_a_name_that_files_may_have():
    assert source_uri("landing/{partition}*.csv", "2018-01-31") == "landing/2018-01-31*.csv"
    assert source_uri("s3://b/{partition}/", "2018-01-31-05:00") == "s3://b/2018-01-31-05/"


def test_the_first_training_date_has_whole_periods_before_it():
    split = {"train": "28d", "gap": "7d", "validation": "7d", "test": "7d"}
    time = {"column": "at", "start": "2018-04-01", "label_delay": "7d"}
    case = use_case(time=time, time_split=split)
    # 49 days after 1 April is Sunday, 20 May; Mondays are the default.
    assert first_training_date(case) == dt.date(2018, 5, 21)
    daily = use_case(time=time, time_split={**split, "every": "daily"})
    assert first_training_date(daily) == dt.date(2018, 5, 20)
    sunday = use_case(time=time, time_split={**split, "weekday": 0})
    assert first_training_date(sunday) == dt.date(2018, 5, 20)
    # In Berlin the hour lost in March is missing at the end of 50 days.
    berlin = {**time, "start": "2018-03-01", "timezone": "Europe/Berlin"}
    daily = use_case(time=berlin, time_split={**split, "every": "daily"})
    assert first_training_date(daily) == dt.date(2018, 4, 20)
    midnight = dt.datetime(2018, 4, 19, tzinfo=ZoneInfo("Europe/Berlin"))
    begin = dt.datetime(2018, 3, 1, tzinfo=ZoneInfo("Europe/Berlin"))
    assert midnight.astimezone(UTC) - begin.astimezone(UTC) < dt.timedelta(days=49)
