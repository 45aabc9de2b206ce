"""Which partitions have files."""

import datetime as dt
from pathlib import Path

import pytest

from pipeline_assets.ingest.landed import keys_of_paths, landed_partitions
from pipeline_assets.spec import Source, Time

DAILY = Time(column="at", start=dt.date(2026, 1, 2), end=dt.date(2026, 1, 6))


def test_only_partitions_within_the_time_that_have_a_file(tmp_path: Path) -> None:
    for name in (
        "2026-01-01.csv",  # before the start
        "2026-01-04.csv",
        "2026-01-02.csv",
        "2026-01-02-late.csv",  # a second file of the day
        "2026-01-06.csv",  # beyond the end
        "2026-13-45.csv",  # no date
        "2026-01-03.txt",  # another name
        "_2026-01-03.csv",
    ):
        (tmp_path / name).touch()
    source = Source(uri=f"{tmp_path}/{{partition}}*.csv", format="csv")
    assert landed_partitions(source, DAILY) == ["2026-01-02", "2026-01-04"]


@pytest.mark.parametrize(
    ("uri", "path", "keys"),
    [
        ("/in/{partition}/*.csv", "/in/2026-01-02/a.csv", {"2026-01-02"}),
        ("/in/{partition}/*.csv", "/in/2026-01-02/b/a.csv", set()),
        ("/in/{partition}/{partition}.csv", "/in/2026-01-02/2026-01-02.csv", {"2026-01-02"}),
        ("/in/{partition}/{partition}.csv", "/in/2026-01-02/2026-01-03.csv", set()),
        ("/in/{partition}.csv", "/in/2026-01-02-05.csv", {"2026-01-02-05:00"}),
        ("/i.n/{partition}.csv", "/ixn/2026-01-02.csv", set()),
    ],
)
def test_keys_are_where_the_placeholder_stands(uri: str, path: str, keys: set[str]) -> None:
    assert keys_of_paths([path], uri) == keys


def test_a_folder_that_is_not_there_has_no_partitions(tmp_path: Path) -> None:
    source = Source(uri=f"{tmp_path}/nothing/{{partition}}.csv", format="csv")
    assert landed_partitions(source, DAILY) == []
