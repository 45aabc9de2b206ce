"""Partitions of a timed use case as Dagster knows them. Their arithmetic is in `spec.partitions`."""

import datetime as dt
from typing import Any

import dagster as dg

from pipeline_assets.spec import UseCase
from pipeline_assets.spec.partitions import first_training_date

_WEEK = dt.timedelta(days=7)


def data_partitions(use_case: UseCase) -> dg.TimeWindowPartitionsDefinition | None:
    """The partitions of raw, validated, rejected, features and tensor_shards; None without `time`.

    A partition exists when its time is over.
    """
    time = use_case.time
    if time is None:
        return None
    if time.partition == "hourly":
        return dg.HourlyPartitionsDefinition(
            start_date=dt.datetime.combine(time.start, dt.time()),
            end_date=None if time.end is None else dt.datetime.combine(time.end, dt.time()),
            timezone="UTC",
        )
    return dg.DailyPartitionsDefinition(
        start_date=dt.datetime.combine(time.start, dt.time()),
        end_date=None if time.end is None else dt.datetime.combine(time.end, dt.time()),
        timezone=time.timezone,
    )


def training_dates(use_case: UseCase) -> dg.TimeWindowPartitionsDefinition | None:
    """The partitions of the model assets; None without `time_split`.

    The first training date is the first with a whole training and validation period before it. A
    training date exists when its test period is over, and lies within the data.
    """
    time, split = use_case.time, use_case.time_split
    if time is None or split is None:
        return None
    step = _WEEK if split.every == "weekly" else dt.timedelta(days=1)
    # Dagster's own rule is that a date exists when the time to the next one is over.
    end = None if time.end is None else dt.datetime.combine(time.end, dt.time()) - split.test + step
    options: dict[str, Any] = {
        "start_date": dt.datetime.combine(first_training_date(use_case), dt.time()),
        "end_date": end,
        "timezone": time.timezone,
        "end_offset": -(-(split.test - step) // step) * -1 if split.test > step else 0,
    }
    if split.every == "daily":
        return dg.DailyPartitionsDefinition(**options)
    return dg.WeeklyPartitionsDefinition(day_offset=split.weekday, **options)


def data_options(use_case: UseCase, *, of_joined: bool = False) -> dict[str, Any]:
    """Options of a data asset: its partitions, a whole range of which one run makes; none without `time`.

    Args:
        use_case: whose asset.
        of_joined: it belongs to a joined source. A range is launched from the command line only where
            all assets of the job are made in one run, those without partitions among them.
    """
    partitions = data_partitions(use_case)
    if partitions is None:
        return {"backfill_policy": dg.BackfillPolicy.single_run()} if of_joined else {}
    return {"partitions_def": partitions, "backfill_policy": dg.BackfillPolicy.single_run()}


def same_partition(use_case: UseCase, upstream: str) -> dg.AssetDep:
    """A dependency of each partition on the same one of `upstream`."""
    return dg.AssetDep([use_case.name, upstream])


def partition_with_history(use_case: UseCase, upstream: str, count: int) -> dg.AssetDep:
    """A dependency of each partition on the same one of `upstream` and the `count` partitions before."""
    if use_case.time is None:
        return dg.AssetDep([use_case.name, upstream])
    mapping = dg.TimeWindowPartitionMapping(start_offset=-count)
    return dg.AssetDep([use_case.name, upstream], partition_mapping=mapping)
