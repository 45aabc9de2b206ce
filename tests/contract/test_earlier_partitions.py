"""Keys that earlier partitions have taken: the first sound delivery wins, on both engines alike."""

import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))

from raw_versions import publish_raw, read_rows, run_validation

from pipeline_assets.contract.earlier import EarlierRaw
from pipeline_assets.contract.results import ContractError
from pipeline_assets.contract.unique import taken_rows, unique_rows
from pipeline_assets.spec.contract import Column, Contract, RowRule, TableRules

PAYMENTS = Contract(
    key=["id"],
    columns=[
        Column(name="id", type="int64", min=1),
        Column(name="amount", type="float64", min=0),
        Column(name="note", type="string", nullable=True),
    ],
    rows=[RowRule(name="small", expression="amount < 1000 OR note IS NOT NULL")],
    table=TableRules(max_rejected_share=1),
)


def deliver(lake, day, rows, contract=PAYMENTS, *, malformed=(), **options):
    """The raw version of a day with its contract, as validation of a later day takes it."""
    raw = publish_raw(lake, contract, rows, malformed, use_case=f"day{day}", **options)
    return EarlierRaw(partition=f"2026-01-0{day}", raw=raw, contract=contract)


def rules_by_line(rejected):
    return {row["_source_line"]: row["rules"] for row in read_rows(rejected)}


def test_a_key_belongs_to_the_first_sound_row_that_was_delivered(engine, lake):
    days = [
        # 7 comes twice, 8 is broken, 9 breaks a row rule; neither of these takes its key.
        deliver(lake, 1, [("7", "1", None), ("7", "2", None), ("8", "-1", None), ("9", "5e3", None)]),
        # 6 repeats a key of no earlier day, 7 one of the day before: still taken on the day after.
        deliver(lake, 2, [("5", "1", None), ("6", "1", None), (" 7 ", "3", None)]),
    ]  # fmt: skip
    rows = [
        ("6", "10", None),
        ("7", "10", "later"),
        ("8", "10", None),
        ("7", "11", None),
        ("9", "10", None),
        ("8", "11", None),
        ("6", "-5", None),
        (None, "1", None),
        ("4", "10", None),
    ]
    raw = publish_raw(lake, PAYMENTS, rows, [(20, "a;b")])
    result, validated, rejected = run_validation(engine, lake, PAYMENTS, raw, earlier=days)
    assert {row["id"] for row in read_rows(validated)} == {4, 8, 9}
    assert rules_by_line(rejected) == {
        1: ["unique_key"], 2: ["unique_key"], 4: ["unique_key"], 6: ["unique_key"],
        7: ["amount.range"], 8: ["id.nullable"], 20: ["malformed_line"],
    }  # fmt: skip
    assert (result.rows_raw, result.rows_validated, result.rows_rejected) == (10, 3, 7)
    assert result.violations["unique_key"] == 4
    assert [(s["_source_line"], s["kept"]) for s in result.samples["unique_key"]] == [
        (1, "landing.csv:2 of partition 2026-01-02"),
        (2, "landing.csv:1 of partition 2026-01-01"),
        (4, "landing.csv:1 of partition 2026-01-01"),
        (6, "landing.csv:3"),
    ]
    alone, *_ = run_validation(engine, lake, PAYMENTS, raw, earlier=days[1:])
    assert [s["kept"] for s in alone.samples["unique_key"]][1].endswith("3 of partition 2026-01-02")


def test_days_with_other_keys_or_without_rows_change_no_byte(engine, lake):
    rows = [(str(i % 90), str(i), None) for i in range(100)]
    raw = publish_raw(lake, PAYMENTS, rows, [(101, "x")], files=2)
    days = [
        deliver(lake, 1, [(str(1000 + i), "1", None) for i in range(50)], malformed=[(60, "y")]),
        deliver(lake, 2, []),
    ]
    expected, *versions = run_validation(engine, lake, PAYMENTS, raw)
    for earlier in (days, days[1:]):
        found, *others = run_validation(engine, lake, PAYMENTS, raw, earlier=earlier)
        assert found == expected
        assert [v.data_version for v in others] == [v.data_version for v in versions]
    empty = publish_raw(lake, PAYMENTS, [], use_case="empty")
    result, validated, rejected = run_validation(engine, lake, PAYMENTS, empty, earlier=days)
    assert (result.rows_raw, read_rows(validated), read_rows(rejected)) == (0, [], [])


def test_days_before_a_change_of_the_columns_keep_their_keys(engine, lake):
    before = PAYMENTS.model_copy(
        update={"columns": [PAYMENTS.columns[0], PAYMENTS.columns[2]], "rows": []}
    )
    other = PAYMENTS.model_copy(update={"columns": [PAYMENTS.columns[0], PAYMENTS.columns[1]]})
    days = [
        EarlierRaw(
            partition="2026-01-01",
            raw=publish_raw(lake, before, [("1", None), ("-1", None)], use_case="less"),
            contract=PAYMENTS,
        ),
        EarlierRaw(
            partition="2026-01-02",
            raw=publish_raw(
                lake, other, [(2, 5), (-2, 5)], use_case="typed",
                types={"id": pa.int64(), "amount": pa.int64()},
            ),
            contract=PAYMENTS,
        ),
    ]  # fmt: skip
    raw = publish_raw(lake, PAYMENTS, [("1", "1", None), ("2", "1", None), ("3", "1", None)])
    result, validated, _ = run_validation(engine, lake, PAYMENTS, raw, earlier=days)
    assert [row["id"] for row in read_rows(validated)] == [3]
    assert result.violations["unique_key"] == 2
    foreign = EarlierRaw(
        partition="2026-01-03",
        raw=publish_raw(
            lake, PAYMENTS, [(1.5, "1", None)], types={"id": pa.float64()}, use_case="foreign"
        ),
        contract=PAYMENTS,
    )
    with pytest.raises(ContractError, match=r"2026-01-03.*unique_lookback.*'id' as double"):
        run_validation(engine, lake, PAYMENTS, raw, earlier=[foreign])


def test_keys_of_several_columns_of_text_and_typed_days(engine, lake):
    contract = Contract(
        key=["name", "at"],
        columns=[Column(name="name", type="string"), Column(name="at", type="timestamp")],
        table=TableRules(max_rejected_share=1),
    )
    moment = datetime(2026, 1, 1, 12, tzinfo=UTC)
    typed = deliver(
        lake, 1, [("a", moment), ("b", moment)], contract,
        types={"at": pa.timestamp("us", tz="UTC")},
    )  # fmt: skip
    rows = [("a", "2026-01-01T13:00:00+01:00"), ("A", "2026-01-01T12:00:00"), ("b", "2026-01-01")]
    raw = publish_raw(lake, contract, rows)
    result, validated, _ = run_validation(engine, lake, contract, raw, earlier=[typed])
    assert result.violations["unique_key"] == 1
    assert {row["name"] for row in read_rows(validated)} == {"A", "b"}


@pytest.mark.spark
def test_both_engines_write_the_same_bytes(spark, apache_spark, lake):
    days = [
        deliver(lake, day, [(str(i), str(i - 20), None) for i in range(day, 900, 3)], files=2)
        for day in (1, 2)
    ]
    rows = [(str(i % 800 + 1), str(i / 7), None) for i in range(1000)]
    raw = publish_raw(lake, PAYMENTS, rows, files=3)
    found = [
        run_validation(session, lake, PAYMENTS, raw, earlier=days)
        for session in (spark, apache_spark)
    ]
    (ours, *our_versions), (theirs, *their_versions) = found
    assert ours == theirs and ours.rows_validated > 200 and ours.violations["unique_key"] > 500
    assert [v.data_version for v in our_versions] == [v.data_version for v in their_versions]


ROW = st.tuples(st.integers(0, 3), st.sampled_from("abc"), st.integers(0, 9))


@settings(deadline=None, derandomize=True)
@given(
    own=st.lists(st.tuples(ROW, st.booleans()), max_size=30),
    before=st.lists(st.tuples(ROW, st.integers(0, 2)), max_size=30),
)
def test_the_first_row_of_a_key_is_found_where_hashes_collide(own, before):
    def table(rows, earlier):
        return pa.table(
            {
                "_row_id": pa.array([number % 2 for number, _, _ in rows], pa.int64()),
                "number": pa.array([number for number, _, _ in rows], pa.int64()),
                "name": pa.array([name for _, name, _ in rows], pa.string()),
                "_source_file": pa.array([f"f{at % 2}" for _, _, at in rows], pa.string()),
                "_source_line": pa.array([at for _, _, at in rows], pa.int64()),
                "_earlier": pa.array(earlier, pa.int32()),
            }
        )

    key = ["number", "name"]
    rows = table([row for row, _ in own], [None] * len(own))
    taken = table([row for row, _ in before], [index for _, index in before])
    candidates = np.array([at for at, (_, sound) in enumerate(own) if sound], dtype=np.int64)
    late, origins = taken_rows(rows, candidates, taken, key)
    first = {}
    for at, ((number, name, line), index) in enumerate(before):
        rank = (index, f"f{line % 2}", line)
        if (number, name) not in first or rank < first[number, name][0]:
            first[number, name] = (rank, at)
    expected = {at for at in candidates.tolist() if own[at][0][:2] in first}
    assert sorted(late.tolist()) == sorted(expected)
    for at, origin in zip(late.tolist(), origins.tolist(), strict=True):
        (number, name, line), index = before[origin]
        assert (number, name) == own[at][0][:2]
        assert (index, f"f{line % 2}", line) == first[number, name][0]
    rest = np.setdiff1d(candidates, late)
    kept, repeated, _ = unique_rows(rows, rest, key)
    assert sorted([*kept.tolist(), *repeated.tolist()]) == rest.tolist()
    assert len({own[at][0][:2] for at in kept.tolist()}) == len(kept)
