"""Partitions as Dagster cuts them are those of the domain."""

import datetime as dt

import dagster as dg
import pytest

from pipeline_assets.orchestration.partitions import (
    data_partitions,
    partition_with_history,
    training_dates,
)
from pipeline_assets.spec import UseCase
from pipeline_assets.spec.partitions import history_keys, partition_bounds, partition_keys
from tests.spec.test_partitions import rolling, use_case


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/Sao_Paulo"])
@pytest.mark.parametrize("kind", ["daily", "hourly"])
def test_keys_and_bounds_are_those_of_the_domain(zone: str, kind: str):
    case = use_case(
        time={
            "column": "at",
            "start": "2018-10-20",
            "end": "2018-11-10",
            "timezone": zone,
            "partition": kind,
        }
    )
    partitions = data_partitions(case)
    assert partitions is not None and case.time is not None
    keys = partitions.get_partition_keys()
    assert list(keys) == partition_keys(case.time, keys[0], keys[-1])
    assert len(keys) == (21 if kind == "daily" else 21 * 24)
    for key in keys:
        window = partitions.time_window_for_partition_key(key)
        assert partition_bounds(case.time, key) == (
            window.start.astimezone(dt.UTC),
            window.end.astimezone(dt.UTC),
        )


def test_features_depend_on_as_many_partitions_as_their_windows_reach():
    time = {"column": "at", "start": "2018-04-01", "timezone": "Europe/Berlin"}
    case = use_case(time=time, features=rolling("7d"))
    partitions, mapping = data_partitions(case), partition_with_history(case, "validated", 8)
    assert partitions is not None and mapping.partition_mapping is not None and case.time
    for key in ("2018-04-01", "2018-04-03", "2018-05-01", "2018-10-29"):
        upstream = mapping.partition_mapping.get_upstream_mapped_partitions_result_for_partitions(
            partitions.empty_subset().with_partition_keys([key]), partitions, partitions
        )
        assert sorted(upstream.partitions_subset.get_partition_keys()) == [
            *history_keys(case.time, key, 8),
            key,
        ]


def dates(case: UseCase) -> list[str]:
    partitions = training_dates(case)
    assert isinstance(partitions, dg.TimeWindowPartitionsDefinition)
    return list(partitions.get_partition_keys())


def test_training_dates_have_whole_periods_before_and_after_them():
    time = {"column": "at", "start": "2018-04-01", "end": "2018-07-01", "label_delay": "7d"}
    split = {"train": "28d", "gap": "7d", "validation": "7d", "test": "7d"}
    # Mondays from 21 May on; the last whose test week lies before 1 July is 18 June.
    assert dates(use_case(time=time, time_split=split)) == [
        "2018-05-21",
        "2018-05-28",
        "2018-06-04",
        "2018-06-11",
        "2018-06-18",
    ]
    assert dates(use_case(time=time, time_split={**split, "test": "14d"}))[-1] == "2018-06-11"
    assert dates(use_case(time=time, time_split={**split, "test": "3d"}))[-1] == "2018-06-25"
    assert dates(use_case(time=time, time_split={**split, "every": "daily"}))[-1] == "2018-06-24"


def test_a_use_case_without_time_has_no_partitions():
    bare = use_case().model_copy(update={"time": None})
    assert data_partitions(bare) is None
    assert training_dates(bare) is None
    assert partition_with_history(bare, "validated", 8).partition_mapping is None
