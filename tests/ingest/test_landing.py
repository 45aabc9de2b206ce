"""Which partitions have files."""

import datetime as dt
from pathlib import Path

import pytest

from pipeline_assets.ingest.landing import landed_partitions, list_landing
from pipeline_assets.spec import Time

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
    uri = f"{tmp_path}/{{partition}}*.csv"
    assert landed_partitions(uri, DAILY) == ["2026-01-02", "2026-01-04"]


@pytest.mark.parametrize(
    ("pattern", "path", "keys"),
    [
        ("{partition}/*.csv", "2026-01-02/a.csv", {"2026-01-02"}),
        ("{partition}/*.csv", "2026-01-02/b/a.csv", set()),
        ("{partition}/{partition}.csv", "2026-01-02/2026-01-02.csv", {"2026-01-02"}),
        ("{partition}/{partition}.csv", "2026-01-02/2026-01-03.csv", set()),
        ("a.b-{partition}.csv", "axb-2026-01-02.csv", set()),
    ],
)
def test_keys_are_where_the_placeholder_stands(
    tmp_path: Path, pattern: str, path: str, keys: set[str]
) -> None:
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / path).touch()
    assert set(list_landing(f"{tmp_path}/{pattern}", DAILY).partitions) == keys


def test_a_folder_that_is_not_there_has_no_partitions(tmp_path: Path) -> None:
    assert landed_partitions(f"{tmp_path}/nothing/{{partition}}.csv", DAILY) == []
