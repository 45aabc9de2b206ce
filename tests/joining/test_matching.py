"""The match of events to rows of a source: held to brute force by pandas, on random data."""

import datetime as dt

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_assets.joining.matching import SourceIndex, instants

SMALL = st.integers(0, 4)
TIMES = st.integers(-5, 5)


@settings(max_examples=300, deadline=None)
@given(
    versions=st.sets(st.tuples(SMALL, SMALL, TIMES), max_size=40),
    events=st.lists(st.tuples(st.none() | SMALL, SMALL, TIMES), min_size=1, max_size=40),
    seed=st.integers(0, 2**16),
)
def test_a_point_in_time_match_is_that_of_merge_asof(
    versions: set[tuple[int, int, int]],
    events: list[tuple[int | None, int, int]],
    seed: int,
) -> None:
    """Two columns of key, one of text; versions in any order; events with ties, in any order."""
    rows = pd.DataFrame(sorted(versions), columns=["a", "b", "since"]).astype(int)
    rows = rows.sample(frac=1, random_state=seed).reset_index(drop=True)
    rows["row"] = np.arange(len(rows))
    asked = pd.DataFrame(events, columns=["a", "b", "at"]).astype({"a": "Int64"})
    asked["event"] = np.arange(len(asked))
    oracle = pd.merge_asof(
        asked.dropna().astype(int).sort_values("at"),
        rows.sort_values("since"),
        left_on="at",
        right_on="since",
        by=["a", "b"],
    ).set_index("event")["row"]
    expected = oracle.reindex(asked["event"]).fillna(-1).astype(int)

    def text(values: pd.Series) -> pa.Array:
        return pa.array([f"b{value}" for value in values], pa.string())

    index = SourceIndex(
        [pa.array(rows["a"].to_numpy(np.int64)), text(rows["b"])],
        rows["since"].to_numpy(np.int64),
    )
    key = [pa.array([event[0] for event in events], pa.int64()), text(asked["b"])]
    found = index.positions(key, asked["at"].to_numpy(np.int64))
    assert found.tolist() == expected.tolist()


@given(
    keys=st.sets(st.text(max_size=3), max_size=20),
    asked=st.lists(st.none() | st.text(max_size=3), min_size=1, max_size=30),
)
def test_a_match_by_key_alone(keys: set[str], asked: list[str | None]) -> None:
    rows = sorted(keys, key=hash)
    index = SourceIndex([pa.array(rows, pa.string())])
    found = index.positions([pa.chunked_array([pa.array(asked, pa.string())])])
    assert found.tolist() == [-1 if a not in keys else rows.index(a) for a in asked]


def test_a_source_of_versions_needs_times() -> None:
    index = SourceIndex([pa.array([1])], np.array([5]))
    with pytest.raises(ValueError, match="by key and time"):
        index.positions([pa.array([1])])


@pytest.mark.parametrize(
    ("zone", "day", "expected"),
    [
        ("UTC", "2026-03-29", "2026-03-29T00:00"),
        ("Europe/Berlin", "2026-03-29", "2026-03-28T23:00"),  # clocks change later that day
        ("Europe/Berlin", "2026-03-30", "2026-03-29T22:00"),
        ("America/Sao_Paulo", "2018-11-04", "2018-11-04T03:00"),  # has no midnight
    ],
)
def test_a_date_is_valid_from_its_midnight(zone: str, day: str, expected: str) -> None:
    column = pa.array([dt.date.fromisoformat(day)] * 2)
    found = instants(column, zone)
    assert found.astype("datetime64[us]").tolist() == [dt.datetime.fromisoformat(expected)] * 2


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "America/New_York"])
def test_the_first_and_last_day_of_the_calendar_are_times(zone: str) -> None:
    days = pa.array([dt.date(1, 1, 1), dt.date(2026, 1, 1), dt.date(9999, 12, 31)])
    assert (np.diff(instants(days, zone)) > 0).all()


def test_a_column_that_says_nothing_about_time_is_refused() -> None:
    with pytest.raises(TypeError, match="int64"):
        instants(pa.array([1]), "UTC")
