"""The rule that a partition adds to the contract: its rows happened inside it. How rules are judged is elsewhere."""

import datetime as dt
from zoneinfo import ZoneInfo

from pipeline_assets.contract.casts import quote_name
from pipeline_assets.spec import Contract, RowRule, Time, UseCase
from pipeline_assets.spec.partitions import partition_bounds, partition_key

IN_PARTITION = "in_partition"
"""Name of the rule. An event of another day, before the start or in the future breaks it."""


def partition_contract(use_case: UseCase, key: str | None = None) -> Contract:
    """Return the contract of one partition's rows; without a `time` block the contract as it is.

    The rule's name, severity and description are the same for all partitions, only its bounds differ:
    without a key they are those of the first partition.

    Raises:
        PartitionError: the key is not written as one.
    """
    time = use_case.time
    if time is None:
        return use_case.contract
    start, end = (_literal(bound) for bound in partition_bounds(time, key or _first(time)))
    column = quote_name(time.column)
    rule = RowRule(
        name=IN_PARTITION,
        expression=f"{column} >= {start} AND {column} < {end}",
        description=f"{time.column} lies in the partition that the row was delivered for",
    )
    return use_case.contract.model_copy(update={"rows": [*use_case.contract.rows, rule]})


def _first(time: Time) -> str:
    # Hours are cut in UTC.
    zone = "UTC" if time.partition == "hourly" else time.timezone
    return partition_key(time, dt.datetime.combine(time.start, dt.time(), ZoneInfo(zone)))


def _literal(instant: dt.datetime) -> str:
    """Sessions run in UTC, so the literal needs no offset."""
    return f"TIMESTAMP '{instant:%Y-%m-%d %H:%M:%S}'"
