"""JSON lines, Parquet and ORC through the engine."""

import datetime as dt
import decimal

import pyarrow as pa
import pyarrow.orc as orc
import pyarrow.parquet as pq
import pytest

from pipeline_assets.spec import Contract

WRITERS = {"parquet": pq.write_table, "orc": orc.write_table}


def contract(**types: str) -> Contract:
    columns = [{"name": name, "type": kind, "nullable": True} for name, kind in types.items()]
    return Contract.model_validate({"key": [next(iter(types))], "columns": columns})


def test_json_values_as_written(landing):
    landing.write(
        "a.jsonl",
        '{"id": 1, "name": "x", "amount": 1.50}\r\n'
        '{"amount": 1e400, "id": 12345678901234567890, "name": {"a": [1.10, null, "é"]}}\n'
        '\n{"id": true, "name": "NA"}\n',
    )
    raw = landing.ingest("jsonl")
    assert raw.rows() == [
        ("1", "x", "1.50"),
        ("12345678901234567890", '{"a": [1.10, null, "é"]}', "1e400"),
        ("true", None, None),
    ]
    assert raw.lines() == [1, 2, 4]


def test_json_lines_that_are_no_objects(landing):
    landing.write(
        "a.jsonl",
        b'{"id": 1}\n{"id": 2\n[1]\n{"id": "\xff"}\n"text"\n{"id": "\\ud800"}\n'
        b'{"id": 3, "name": "\\ud83d\\ude00"}\n',
    )
    raw = landing.ingest("jsonl")
    assert raw.rows() == [("1", None, None), ("3", "😀", None)]
    assert [
        (line, reason.partition(":")[0], text) for _, line, reason, text in raw.malformed()
    ] == [
        (2, "invalid JSON", '{"id": 2'),
        (3, "not a JSON object", "[1]"),
        (4, "undecodable bytes", r'{"id": "\xff"}'),
        (5, "not a JSON object", '"text"'),
        (6, "invalid JSON", r'{"id": "\ud800"}'),
    ]


def test_json_lines_with_a_repeated_key_are_malformed_at_any_depth(landing):
    lines = [
        '{"id": 1, "name": "x", "id": 2}',
        '{"id": 3, "name": {"a": 1, "b": [{"a": 1, "\\u0061": 2}]}}',
        '{"id": 4, "name": {"id": 5}}',
    ]
    landing.write("a.jsonl", "\n".join(lines))
    raw = landing.ingest("jsonl")
    assert raw.rows() == [("4", '{"id": 5}', None)]
    assert [bad[1:] for bad in raw.malformed()] == [
        (1, "repeated key: 'id'", lines[0]),
        (2, "repeated key: 'a'", lines[1]),
    ]
    assert raw.result.malformed_by_reason == {"repeated key": 2}


def test_json_lines_split_anywhere(landing):
    landing.write("a.jsonl", "".join(f'{{"id": {i}, "extra": "{i}"}}\n' for i in range(500)))
    whole, split = landing.ingest("jsonl"), landing.ingest("jsonl", split_bytes=1024)
    assert len(split.version.uris("rows")) > 5
    assert split.table().equals(whole.table())
    assert whole.result.ignored_columns == ["extra"]


@pytest.mark.parametrize("format", ["parquet", "orc"])
def test_columnar_types(landing, format):
    moment = dt.datetime(2024, 2, 29, 12, 30, 15, 123456)
    table = pa.table(
        {
            "small": pa.array([1, None], pa.int16()),
            "wide": pa.array([2**40, None], pa.int64()),
            "real": pa.array([1.5, float("nan")], pa.float32()),
            "whole": pa.array([3.0, float("nan")], pa.float64()),
            "moment": pa.array([moment, None], pa.timestamp("ns" if format == "orc" else "us")),
            "day": pa.array([dt.date(2024, 2, 29), None], pa.date32()),
            "flag": pa.array([True, None]),
            "price": pa.array([decimal.Decimal("1.10"), None], pa.decimal128(9, 2)),
            "nested": pa.array([{"a": [1, 2]}, None]),
            "bytes": pa.array([b"a\xff", None]),
        }
    )
    WRITERS[format](table, str(landing.folder / f"a.{format}"))
    raw = landing.ingest(
        format,
        contract=contract(
            small="int64",
            wide="int32",
            real="float64",
            whole="int32",
            moment="timestamp",
            day="date",
            flag="boolean",
            price="float64",
            nested="string",
            bytes="string",
        ),
    )
    first = raw.rows()[0]
    assert first == (
        1,
        str(2**40),
        1.5,
        "3",
        moment.replace(tzinfo=dt.UTC),
        dt.date(2024, 2, 29),
        True,
        "1.10",
        '{"a": [1, 2]}',
        r"a\xff",
    )
    second = raw.rows()[1]
    assert second[:2] == (None, None) and second[3:] == (None,) * 7
    types = [kind for _, kind in raw.result.columns]
    assert types == [
        *("bigint", "string", "double", "string", "timestamp", "date", "boolean"),
        *("string", "string", "string", "string", "bigint"),
    ]


def test_nanosecond_timestamps_written_by_pandas(landing):
    import pandas as pd

    frame = pd.DataFrame({"id": [1], "at": [pd.Timestamp("2024-01-02 03:04:05.123456789")]})
    frame.to_parquet(landing.folder / "a.parquet", version="2.6", coerce_timestamps=None)
    raw = landing.ingest("parquet", contract=contract(id="int64", at="timestamp"))
    assert raw.rows() == [(1, dt.datetime(2024, 1, 2, 3, 4, 5, 123456, tzinfo=dt.UTC))]


def test_files_of_different_types_meet_as_text(landing):
    pq.write_table(pa.table({"id": pa.array([1], pa.int32())}), landing.folder / "a.parquet")
    pq.write_table(pa.table({"id": pa.array(["x"])}), landing.folder / "b.parquet")
    raw = landing.ingest("parquet", contract=contract(id="int64"))
    assert raw.rows() == [("1",), ("x",)]


@pytest.mark.parametrize("format", ["parquet", "orc"])
def test_large_columnar_files_are_split(landing, format):
    table = pa.table({"id": range(50_000), "name": [f"{i * 7919}" for i in range(50_000)]})
    options = {"row_group_size": 5000} if format == "parquet" else {"stripe_size": 65_536}
    WRITERS[format](table, str(landing.folder / "a"), **options)
    types = contract(id="int64", name="string")
    whole = landing.ingest(format, contract=types, split_bytes=2**30)
    split = landing.ingest(format, contract=types, split_bytes=30_000)
    assert len(split.version.uris("rows")) > 3
    assert split.table().equals(whole.table())
    assert whole.lines() == list(range(1, 50_001))
    assert whole.table()["id"].to_pylist() == list(range(50_000))


def test_a_table_without_rows(landing):
    pq.write_table(pa.table({"id": pa.array([], pa.int64())}), landing.folder / "a.parquet")
    assert landing.ingest("parquet", contract=contract(id="int64")).result.rows == 0
