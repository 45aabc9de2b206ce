"""Rows that do not belong to their partition are rejected, all others pass."""

import datetime as dt
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from raw_versions import publish_raw, read_rows, run_validation

from pipeline_assets.contract.partition_rule import IN_PARTITION, partition_contract
from pipeline_assets.contract.rules import rules_of
from pipeline_assets.spec import Column, Contract, Feature, Features, Label, Source, Time, UseCase


def use_case(timezone: str) -> UseCase:
    return UseCase(
        name="demo",
        time=Time(column="at", timezone=timezone, start=dt.date(2026, 1, 1)),
        source=Source(uri="landing/{partition}.csv", format="csv"),
        contract=Contract(
            key=["id"],
            columns=[
                Column(name="id", type="int64"),
                Column(name="at", type="timestamp"),
                Column(name="label", type="int32"),
            ],
        ),
        features=Features(
            columns=[Feature(name="id", kind="numeric")], label=Label(column="label")
        ),
    )


def test_rows_outside_their_day_are_rejected_with_the_rule_s_name(engine, lake):
    # 2026-03-29 in Berlin has 23 hours: from 23:00 UTC the day before to 22:00 UTC.
    moments = {
        "2026-03-28T22:59:59Z": False,
        "2026-03-28T23:00:00Z": True,
        "2026-03-29T21:59:59.999999Z": True,
        "2026-03-29T22:00:00Z": False,
        "2099-01-01T00:00:00Z": False,
        "1999-01-01T00:00:00Z": False,
    }
    contract = partition_contract(use_case("Europe/Berlin"), "2026-03-29")
    rows = [(str(number), moment, "0") for number, moment in enumerate(moments)]
    result, validated, rejected = run_validation(
        engine, lake, contract, publish_raw(lake, contract, rows)
    )
    assert result.violations[IN_PARTITION] == 4
    kept = {row["id"] for row in read_rows(validated)}
    assert kept == {number for number, inside in enumerate(moments.values()) if inside}
    assert {tuple(row["rules"]) for row in read_rows(rejected)} == {(IN_PARTITION,)}


def test_without_a_key_the_bounds_are_those_of_the_first_partition():
    for timezone in ("Pacific/Auckland", "Pacific/Kiritimati", "America/New_York"):
        case = use_case(timezone)
        assert partition_contract(case) == partition_contract(case, "2026-01-01")
        assert case.time is not None
        hourly = case.time.model_copy(update={"partition": "hourly"})
        case = case.model_copy(update={"time": hourly})
        assert partition_contract(case) == partition_contract(case, "2026-01-01-00:00")


def test_all_partitions_have_the_same_rules():
    case = use_case("UTC")
    names = [
        [rule.name for rule in rules_of(partition_contract(case, key))]
        for key in ("2026-01-01", "2027-12-31")
    ]
    assert names[0] == names[1]
    assert IN_PARTITION in names[0] and IN_PARTITION not in [
        rule.name for rule in rules_of(case.contract)
    ]
