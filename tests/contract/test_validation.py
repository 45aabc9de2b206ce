"""The validating pass on both engines: nothing lost, every rule named, equal files."""

import json
import sys
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pytest
import xxhash

sys.path.insert(0, str(Path(__file__).parent))

from raw_versions import publish_raw, read_rows, run_validation

from pipeline_assets.contract.results import ContractError
from pipeline_assets.spec.contract import Column, Contract, RowRule, TableRules

CUSTOMERS = Contract(
    key=["id"],
    columns=[
        Column(name="id", type="int64", min=1),
        Column(name="age", type="int32", min=18, max=100),
        Column(name="balance", type="float64", nullable=True),
        Column(name="country", type="string", allowed=["France", "Spain"]),
        Column(name="joined", type="timestamp", nullable=True, severity="warn"),
        Column(name="note", type="string", nullable=True, max_length=50),
    ],
    rows=[RowRule(name="adult_balance", expression="age >= 21 OR balance < 1000")],
    table=TableRules(max_rejected_share=0.9),
)


def good(id_, **changed):
    row = {
        "id": None if id_ is None else str(id_),
        "age": "30",
        "balance": "10.5",
        "country": "France",
    }
    row |= {"joined": None, "note": None} | changed
    return tuple(row[name] for name in CUSTOMERS.names)


def hash_of(*texts):
    seed = 42
    for text in texts:
        seed = xxhash.xxh64_intdigest(text.encode(), seed)
    return seed - 2**64 if seed >= 2**63 else seed


def by_line(version):
    return {row["_source_line"]: row for row in read_rows(version)}


def test_every_rule_is_named_and_no_row_is_lost(engine, lake):
    rows = [
        good(1, joined="2024-05-06T07:08:09+02:00"),  # 1: valid
        good("x", age="17", country="Peru"),  # 2: three rules
        good(None),  # 3
        good(2, age=None, balance="inf", note="n" * 10_000),  # 4
        good(3, age="99999999999"),  # 5: overflow
        good(4, age="18", balance="5000"),  # 6: row rule
        good(5, balance="NaN", joined="yesterday"),  # 7: valid, a warning
    ]
    raw = publish_raw(lake, CUSTOMERS, rows, [(8, 'a,"b\n'), (9, "ÿ;;;")])
    result, validated, rejected = run_validation(engine, lake, CUSTOMERS, raw)
    assert {line: row["rules"] for line, row in by_line(rejected).items()} == {
        2: ["id.type", "age.range", "country.allowed"],
        3: ["id.nullable"],
        4: ["age.nullable", "balance.finite", "note.max_length"],
        5: ["age.type"],
        6: ["adult_balance"],
        8: ["malformed_line"],
        9: ["malformed_line"],
    }
    originals = {line: row["original"] for line, row in by_line(rejected).items()}
    assert json.loads(originals[2]) == dict(zip(CUSTOMERS.names, rows[1], strict=True))
    assert originals[8] == 'a,"b\n'
    assert {row["id"]: row for row in read_rows(validated)} == {
        1: {
            "id": 1, "age": 30, "balance": 10.5, "country": "France", "note": None,
            "joined": datetime(2024, 5, 6, 5, 8, 9, tzinfo=UTC), "_row_id": hash_of("1"),
        },
        5: {
            "id": 5, "age": 30, "balance": None, "country": "France", "note": None,
            "joined": None, "_row_id": hash_of("5"),
        },
    }  # fmt: skip
    assert (result.rows_raw, result.rows_validated, result.rows_rejected) == (9, 2, 7)
    broken = {rule: count for rule, count in result.violations.items() if count}
    assert broken == {
        "id.type": 1, "id.nullable": 1, "age.type": 1, "age.nullable": 1, "age.range": 1,
        "balance.finite": 1, "country.allowed": 1, "joined.type": 1, "note.max_length": 1,
        "adult_balance": 1, "malformed_line": 2,
    }  # fmt: skip
    assert result.severities["joined.type"] == "warn"
    assert result.samples["joined.type"] == [
        {"_source_file": "landing.csv", "_source_line": 7, "joined": "yesterday"}
    ]
    assert result.samples["adult_balance"][0] | {"_source_file": ""} == {
        "_source_file": "", "_source_line": 6, "age": "18", "balance": "5000",
    }  # fmt: skip
    (long_sample,) = result.samples["note.max_length"]
    assert long_sample["note"] == "n" * 200 + "… (10000 characters)"
    assert result.null_shares["balance"] == 0.5
    json.dumps(result.to_metadata(), allow_nan=False)


def test_first_row_of_a_key_stays_whatever_the_order_of_files(engine, lake):
    rows = [good(1), good(2), good(1, age="40"), good(3), good(" 1 ", age="50"), good(2)]
    orders = []
    for files in (1, 3):
        raw = publish_raw(lake, CUSTOMERS, rows, files=files, use_case=f"files{files}")
        result, validated, rejected = run_validation(engine, lake, CUSTOMERS, raw)
        assert {row["id"]: row["age"] for row in read_rows(validated)} == {1: 30, 2: 30, 3: 30}
        assert sorted(by_line(rejected)) == [3, 5, 6]
        assert result.violations["unique_key"] == 3
        orders.append((validated.data_version, rejected.data_version))
        assert [(s["_source_line"], s["kept"]) for s in result.samples["unique_key"]] == [
            (3, "landing.csv:1"), (5, "landing.csv:1"), (6, "landing.csv:2"),
        ]  # fmt: skip
    assert orders[0] == orders[1], "the same rows in other files give other bytes"


def test_a_broken_row_never_pushes_out_a_good_one(engine, lake):
    rows = [good(1, age="5"), good(1), good(1, country="Peru"), good(1)]
    raw = publish_raw(lake, CUSTOMERS, rows)
    result, validated, rejected = run_validation(engine, lake, CUSTOMERS, raw)
    assert result.rows_validated == len(read_rows(validated)) == 1
    assert {line: row["rules"] for line, row in by_line(rejected).items()} == {
        1: ["age.range"], 3: ["country.allowed"], 4: ["unique_key"],
    }  # fmt: skip


def test_originals_are_verbatim_however_the_value_is_spelled(engine, lake):
    contract = Contract(
        key=["id"],
        columns=[
            Column(name="id", type="int64"),
            Column(name="small", type="int32", nullable=True),
            Column(name="day", type="date", nullable=True),
            Column(name="share", type="float64", nullable=True),
            Column(name="on", type="boolean", nullable=True),
            Column(name="at", type="timestamp", nullable=True),
            Column(name="text", type="string", nullable=True, severity="warn", max_length=1),
        ],
        table=TableRules(max_rejected_share=1),
    )
    moment = "2024-01-02 03:04:05+00"
    rows = [
        ("7", "1", "2024-01-02", "1.5", "yes", moment, "a"),
        ("7", "-12", "2024-01-02", "1.50", "true", moment, "long"),
        (" 7", "+1", " 2024-01-02 ", "NaN", "F", None, " a"),
        ("007", "1.0", None, None, None, "2024-01-02", ""),
        ("7.", "-0", "0001-01-01", "1e3", "1", None, None),
        ("-9223372036854775808", "x", "9999-12-31", "", "", "", ""),
    ]
    raw = publish_raw(lake, contract, rows)
    result, _, rejected = run_validation(engine, lake, contract, raw)
    assert (result.rows_validated, result.violations["unique_key"]) == (1, 4)
    originals = {line: json.loads(row["original"]) for line, row in by_line(rejected).items()}
    assert originals == {
        line: dict(zip(contract.names, row, strict=True)) for line, row in enumerate(rows, 1)
        if line > 1
    }  # fmt: skip
    assert [sample["id"] for sample in result.samples["unique_key"]] == ["7", " 7", "007", "7."]


def test_more_rules_than_bits_in_a_word(engine, lake):
    columns = [Column(name=f"c{i}", type="string", max_length=i + 1) for i in range(60)]
    contract = Contract(
        key=["c0"],
        columns=columns,
        rows=[RowRule(name=f"r{i}", expression=f"c0 <> '{i}'", severity="warn") for i in range(9)],
        table=TableRules(max_rejected_share=1),
    )
    long = [f"c{i}.max_length" for i in range(60)]
    missing = [f"c{i}.nullable" for i in range(60)]
    rows = [
        ("3", *["b"] * 59),
        ("4", *["x" * 99] * 59),
        ("5", *[None] * 59),
        ("3", *["b"] * 59),
    ]
    raw = publish_raw(lake, contract, rows, [(9, "?")])
    result, _, rejected = run_validation(engine, lake, contract, raw)
    assert {line: row["rules"] for line, row in by_line(rejected).items()} == {
        2: [*long[1:], "r4"],
        3: [*missing[1:], "r5"],
        4: ["r3", "unique_key"],
        9: ["malformed_line"],
    }
    assert result.violations["r3"] == 2 and result.rows_validated == 1


def test_keys_of_several_columns(engine, lake):
    contract = Contract(
        key=["day", "seen", "flag", "name"],
        columns=[
            Column(name="name", type="string"),
            Column(name="day", type="date"),
            Column(name="seen", type="timestamp"),
            Column(name="flag", type="boolean"),
        ],
        table=TableRules(max_rejected_share=1),
    )
    rows = [
        ("a", "2024-01-02", "2024-01-02T03:04:05Z", "yes"),
        ("a", " 2024-01-02 ", "2024-01-02 04:04:05+01:00", "TRUE"),
        ("A", "2024-01-02", "2024-01-02T03:04:05Z", "1"),
        ("", "2024-01-02", "2024-01-02T03:04:05.000001Z", "0"),
    ]
    raw = publish_raw(lake, contract, rows)
    result, validated, _ = run_validation(engine, lake, contract, raw)
    assert result.violations["unique_key"] == 1
    found = {row["name"]: row for row in read_rows(validated)}
    assert set(found) == {"a", "A", ""}
    assert found["a"]["day"] == date(2024, 1, 2)
    micros = str(int(datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC).timestamp()) * 10**6)
    assert found["a"]["_row_id"] == hash_of("2024-01-02", micros, "true", "a")


def test_typed_columns_of_columnar_sources(engine, lake):
    types = {
        "id": pa.int64(), "age": pa.int32(), "balance": pa.float64(),
        "joined": pa.timestamp("us", tz="UTC"),
    }  # fmt: skip
    moment = datetime(2024, 1, 2, tzinfo=UTC)
    rows = [
        (1, 30, float("nan"), "France", moment, "x"),
        (2, 17, float("inf"), None, moment, None),
        (2, None, 1.5, "Spain", None, None),
        (2, 21, 2.5, "Spain", None, None),
        (2, 22, 2.5, "Spain", moment, None),
    ]
    raw = publish_raw(lake, CUSTOMERS, rows, types=types)
    _, validated, rejected = run_validation(engine, lake, CUSTOMERS, raw)
    assert sorted((row["id"], row["balance"]) for row in read_rows(validated)) == [
        (1, None), (2, 2.5),
    ]  # fmt: skip
    found = by_line(rejected)
    assert found[2]["rules"] == ["age.range", "balance.finite", "country.nullable", "adult_balance"]
    assert json.loads(found[2]["original"]) == {
        "id": 2, "age": 17, "balance": "inf", "country": None,
        "joined": "2024-01-02T00:00:00+00:00", "note": None,
    }  # fmt: skip
    assert found[3]["rules"] == ["age.nullable"]
    assert found[5]["rules"] == ["unique_key"]


def test_all_rows_bad_and_no_rows_at_all(engine, lake):
    raw = publish_raw(lake, CUSTOMERS, [good(1, age="x"), good(1, age="y")])
    result, validated, rejected = run_validation(engine, lake, CUSTOMERS, raw)
    assert (read_rows(validated), len(read_rows(rejected))) == ([], 2)
    assert set(result.null_shares.values()) == {0.0}
    assert {c.name for c in result.table_checks if not c.passed} == {"min_rows", "rejected_share"}
    assert not result.passed
    empty = publish_raw(lake, CUSTOMERS, [], use_case="empty")
    result, validated, rejected = run_validation(engine, lake, CUSTOMERS, empty)
    assert (result.rows_raw, read_rows(validated), read_rows(rejected)) == (0, [], [])
    assert result.rejected_share == 0.0


def test_all_null_and_constant_columns(engine, lake):
    rows = [good(i, balance=None, note="same") for i in range(20)]
    raw = publish_raw(lake, CUSTOMERS, rows[1:])
    contract = CUSTOMERS.model_copy(update={"table": TableRules(max_null_share={"balance": 0.5})})
    result, validated, _ = run_validation(engine, lake, contract, raw)
    assert result.null_shares["balance"] == 1.0 and result.null_shares["note"] == 0.0
    assert {row["balance"] for row in read_rows(validated)} == {None}
    assert {c.name for c in result.table_checks if not c.passed} == {"balance.null_share"}


def test_a_row_rule_that_the_engine_refuses_is_named(engine, lake):
    raw = publish_raw(lake, CUSTOMERS, [good(1)])
    for expression, reason in [("no_such_function(age) > 1", "refuses"), ("age + 1", "not true")]:
        contract = CUSTOMERS.model_copy(
            update={"rows": [RowRule(name="odd", expression=expression)]}
        )
        with pytest.raises(ContractError, match=f"'odd'.*{reason}|{reason}.*'odd'"):
            run_validation(engine, lake, contract, raw)


def test_raw_of_another_contract_is_refused(engine, lake):
    raw = publish_raw(lake, CUSTOMERS, [good(1)])
    columns = [*CUSTOMERS.columns, Column(name="tenure", type="int32")]
    with pytest.raises(ContractError, match="no column 'tenure'"):
        run_validation(engine, lake, CUSTOMERS.model_copy(update={"columns": columns}), raw)
    raw = publish_raw(
        lake, CUSTOMERS, [(1.5, *good(1)[1:])], types={"id": pa.float64()}, use_case="float"
    )
    with pytest.raises(ContractError, match="'id' as double"):
        run_validation(engine, lake, CUSTOMERS, raw)


@pytest.mark.spark
def test_both_engines_write_the_same_bytes(spark, apache_spark, lake):
    rows = [
        good(
            i % 900,
            age=str(10 + i % 95),
            balance=str(i / 7),
            country=["France", "Spain", "Peru"][i % 3],
        )
        for i in range(1000)
    ]
    raw = publish_raw(lake, CUSTOMERS, rows, [(2000 + i, f"bad {i}") for i in range(7)], files=3)
    results = [run_validation(session, lake, CUSTOMERS, raw) for session in (spark, apache_spark)]
    (ours, *our_versions), (theirs, *their_versions) = results
    assert ours == theirs
    assert [v.data_version for v in our_versions] == [v.data_version for v in their_versions]
