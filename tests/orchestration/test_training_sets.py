"""What Dagster believes that a training date depends on, against what it reads."""

import datetime as dt
from typing import Any

import dagster as dg
import pytest

from pipeline_assets.orchestration.partitions import data_partitions, training_dates
from pipeline_assets.orchestration.training_sets import (
    ALL,
    FITTED,
    combined_versions,
    model_code,
    training_set_dep,
)
from pipeline_assets.spec import UseCase
from pipeline_assets.spec.training_dates import training_partitions

SPLITS: list[dict[str, Any]] = [
    {"train": "14d", "validation": "7d", "test": "7d"},
    {"train": "7d", "gap": "3d", "validation": "2d", "test": "3d"},
    {"train": "5d", "validation": "1d", "test": "10d"},
]


def use_case(time: dict[str, Any], split: dict[str, Any]) -> UseCase:
    return UseCase.model_validate(
        {
            "name": "cards",
            "time": {"column": "at", "start": "2018-02-01", "end": "2018-11-30", **time},
            "time_split": split,
            "source": {"uri": "landing/{partition}.parquet", "format": "parquet"},
            "contract": {"key": ["id"], "columns": [{"name": "id", "type": "int64"}]},
            "features": {
                "columns": [{"name": "id", "kind": "numeric"}],
                "label": {"column": "id"},
            },
        }
    )


@pytest.mark.parametrize("every", ["daily", "weekly"])
@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("delay", ["0d", "36h", "7d"])
@pytest.mark.parametrize(
    "time",
    [{}, {"timezone": "Europe/Berlin"}, {"timezone": "America/New_York"}, {"partition": "hourly"}],
)
def test_the_mapping_covers_what_is_read_and_little_more(
    time: dict[str, Any], delay: str, split: dict[str, Any], every: str
) -> None:
    case = use_case({**time, "label_delay": delay}, {**split, "every": every})
    data, dates = data_partitions(case), training_dates(case)
    assert data is not None and dates is not None
    keys = dates.get_partition_keys()
    # The first, the last, and those about the weeks in which clocks change.
    chosen = {keys[0], keys[-1]} | {
        key
        for key in keys
        if "2018-03-20" < key < "2018-04-12" or "2018-10-25" < key < "2018-11-08"
    }
    step = dt.timedelta(days=7 if every == "weekly" else 1)
    slack = 0 if case.time and case.time.timezone == "UTC" else 1
    for roles in (FITTED, ALL):
        mapping = training_set_dep(case, "features", roles).partition_mapping
        assert isinstance(mapping, dg.TimeWindowPartitionMapping)
        for date in sorted(chosen):
            of = training_partitions(case, date).roles
            needed = {key for role in roles for key in of[role]}
            subset = dates.subset_with_partition_keys([date])
            found = mapping.get_upstream_mapped_partitions_result_for_partitions(
                subset, dates, data
            ).partitions_subset
            mapped = set(found.get_partition_keys())
            assert needed <= mapped
            between = dt.date.fromisoformat(max(needed)[:10]) - dt.date.fromisoformat(
                min(needed)[:10]
            )
            extra = 2 * step + dt.timedelta(days=slack)
            assert len({key[:10] for key in mapped}) <= (between + extra).days + 1
        first = dates.get_partition_keys()[0]
        upstream = data.subset_with_partition_keys([training_partitions(case, first).train[-1]])
        downstream = mapping.get_downstream_partitions_for_partitions(upstream, data, dates)
        assert first in set(downstream.get_partition_keys())


def test_only_what_cuts_a_training_set_is_part_of_its_code_version() -> None:
    split = SPLITS[0]
    code = model_code(use_case({}, split))
    assert code == model_code(
        use_case({"end": "2018-12-31", "unique_lookback": "3d", "arrivals": {"every": "1m"}}, split)
    )
    assert code != model_code(use_case({"label_delay": "1d"}, split))
    assert code != model_code(use_case({"timezone": "Europe/Berlin"}, split))
    assert code != model_code(use_case({}, SPLITS[1]))


def test_versions_of_many_partitions_become_one() -> None:
    def fact(version: str) -> dict[str, Any]:
        return {"data_version": version, "rows": 1}

    one = combined_versions(
        {"raw@2018-04-01": fact("a"), "raw@2018-04-02": fact("b"), "m": fact("c")}
    )
    assert one["m"] == "c" and len(one["raw"]) == 16
    swapped = combined_versions({"raw@2018-04-01": fact("b"), "raw@2018-04-02": fact("a")})
    reordered = combined_versions({"raw@2018-04-02": fact("b"), "raw@2018-04-01": fact("a")})
    assert swapped["raw"] != one["raw"] == reordered["raw"]
