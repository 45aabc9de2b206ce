"""Timestamps without an offset in a zone: text on both engines as the plain Python reference reads it."""

import datetime as dt
import sys
from pathlib import Path

import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from raw_versions import publish_raw, read_rows, run_validation
from test_verdicts import MOMENTS

from pipeline_assets.contract.casts import cast_sql
from pipeline_assets.contract.pandera_schema import pandera_verdicts
from pipeline_assets.contract.parsing import parse_text
from pipeline_assets.spec.contract import Column, Contract, TableRules

BERLIN = {
    "2026-03-29 01:59:59.999999": "2026-03-29T00:59:59.999999Z",
    # Skipped: clocks go from 02:00 to 03:00.
    "2026-03-29 02:00:00": "2026-03-29T01:00:00Z",
    "2026-03-29T02:30": "2026-03-29T01:30:00Z",
    "2026-03-29 03:00:00": "2026-03-29T01:00:00Z",
    # Twice: clocks go from 03:00 back to 02:00.
    "2026-10-25 01:59:59": "2026-10-24T23:59:59Z",
    "2026-10-25 02:00:00": "2026-10-25T00:00:00Z",
    "2026-10-25 02:59:59.5": "2026-10-25T00:59:59.5Z",
    "2026-10-25 03:00:00": "2026-10-25T02:00:00Z",
    "2026-07-01": "2026-06-30T22:00:00Z",
    # With an offset of its own, whatever the zone.
    "2026-10-25T02:30:00+01:00": "2026-10-25T01:30:00Z",
    "2026-07-01T12:00:00Z": "2026-07-01T12:00:00Z",
    "9999-12-31T23:59:59Z": "9999-12-31T23:59:59Z",
    # Might leave the years 1 to 9999 in UTC.
    "0001-01-01T00:00:00": None,
    "9999-12-31": None,
}


def test_local_times_of_berlin(engine):
    frame = engine.createDataFrame([(text,) for text in BERLIN], "t string")
    cast = cast_sql("t", "string", "timestamp", timezone="Europe/Berlin")
    micros = [row.m for row in frame.selectExpr(f"unix_micros({cast}) AS m").collect()]
    epoch = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    expected = [
        None if text is None else (parse_text(text, "timestamp") - epoch) // dt.timedelta(microseconds=1)  # pyright: ignore[reportOperatorIssue]
        for text in BERLIN.values()
    ]  # fmt: skip
    assert micros == expected


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/Sao_Paulo", "Australia/Lord_Howe"])
def test_awkward_texts_are_read_as_the_reference_reads_them(engine, zone):
    texts = [
        *BERLIN, *MOMENTS,
        # Midnight is skipped in Sao Paulo; Lord Howe moves its clocks by half an hour.
        "2018-11-04", "2018-11-04 00:30", "2018-02-17 23:30", "2026-10-04 02:10", "2026-04-05 01:45",
    ]  # fmt: skip
    frame = engine.createDataFrame([(text,) for text in texts], "t string")
    cast = cast_sql("t", "string", "timestamp", timezone=zone)
    found = [row.m for row in frame.selectExpr(f"unix_micros({cast}) AS m").collect()]
    epoch = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    for text, micros in zip(texts, found, strict=True):
        try:
            instant = parse_text(text, "timestamp", timezone=zone)
            assert isinstance(instant, dt.datetime)
            expected = (instant - epoch) // dt.timedelta(microseconds=1)
        except ValueError:
            expected = None
        assert micros == expected, text


def test_rows_and_bounds_are_in_the_zone(engine, lake):
    contract = Contract(
        key=["id"],
        columns=[
            Column(name="id", type="int64"),
            Column(name="at", type="timestamp", min="2026-07-01", max="2026-07-01T23:59:59"),
        ],
        table=TableRules(max_rejected_share=1),
    )
    texts = ["2026-07-01T00:00", "2026-06-30T22:00Z", "2026-06-30T23:59", "2026-07-01T22:00Z", "x"]
    raw = publish_raw(lake, contract, [(str(i), text) for i, text in enumerate(texts)])
    result, validated, _ = run_validation(engine, lake, contract, raw, timezone="Europe/Berlin")
    midnight = dt.datetime(2026, 6, 30, 22, tzinfo=dt.UTC)
    assert {row["id"]: row["at"] for row in read_rows(validated)} == {0: midnight, 1: midnight}
    assert (result.violations["at.range"], result.violations["at.type"]) == (2, 1)
    frame = pd.DataFrame({"id": ["0"] * 5, "at": texts})
    verdicts = pandera_verdicts(contract, frame, timezone="Europe/Berlin")
    assert [broken - {"unique_key"} for broken in verdicts] == [
        set(), set(), {"at.range"}, {"at.range"}, {"at.type"},
    ]  # fmt: skip
