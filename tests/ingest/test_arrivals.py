"""Files that arrive: complete ones ask for their partition once, half-written ones wait, late ones tell why."""

import datetime as dt
import os
import time as clock
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pipeline_assets.ingest import discover
from pipeline_assets.ingest.arrivals import Look, look_for_arrivals
from pipeline_assets.spec import Source, Time

NOW = dt.datetime(2018, 7, 1, 12, 0, tzinfo=dt.UTC)


@dataclass
class Folder:
    """A landing folder, a clock, and what the sensor remembers."""

    home: Path
    pattern: str = "{partition}*.csv"
    now: dt.datetime = field(default_factory=lambda: dt.datetime.now(dt.UTC))
    cursor: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def time(self) -> Time:
        defaults = {"column": "at", "start": "2018-04-01", "arrivals": {"runs_per_look": 10}}
        return Time.model_validate({**defaults, **self.settings})

    def put(self, name: str, content: str = "x", *, old: bool = True) -> Path:
        path = self.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        if old:
            # The clock goes on instead of the file getting older: nobody can set when a file was made.
            self.now = max(self.now, dt.datetime.now(dt.UTC) + dt.timedelta(minutes=5))
        return path

    def look(self, *, minutes: float = 0) -> Look:
        self.now += dt.timedelta(minutes=minutes)
        found = look_for_arrivals(
            f"{self.home}/{self.pattern}", self.time, self.cursor, now=self.now
        )
        self.cursor = found.cursor
        return found

    def asked(self, *, minutes: float = 0) -> list[tuple[str, str, str]]:
        found = self.look(minutes=minutes).requests
        return [(request.first, request.last, request.reason) for request in found]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(home=tmp_path / "landing")


def test_a_folder_that_is_not_there_yet_holds_nothing(folder: Folder):
    assert folder.asked() == []


def test_what_is_there_at_first_is_asked_for_once_and_in_ranges(folder: Folder):
    for name in ("2018-04-01", "2018-04-02", "2018-04-03-b", "2018-04-07"):
        folder.put(f"{name}.csv")
    assert folder.asked() == [
        ("2018-04-01", "2018-04-03", "new"),
        ("2018-04-07", "2018-04-07", "new"),
    ]
    assert folder.asked(minutes=1) == []


def test_a_new_file_waits_until_it_has_settled(folder: Folder):
    folder.put("2018-04-01.csv")
    folder.look()
    folder.put("2018-04-02.csv", old=False)
    folder.now = dt.datetime.now(dt.UTC)
    assert folder.look().waiting == ["2018-04-02"]
    assert folder.asked(minutes=0.5) == []
    assert folder.asked(minutes=1) == [("2018-04-02", "2018-04-02", "new")]


def test_a_file_that_has_grown_since_the_look_before_waits(folder: Folder):
    folder.put("2018-04-01.csv")
    folder.look()
    path = folder.put("2018-04-02.csv", "x")
    folder.look()
    # The clock of the machine that writes may be behind: its files never look young.
    path.write_text("x" * 100)
    assert folder.asked(minutes=5) == []
    path.write_text("x" * 200)
    assert folder.asked(minutes=5) == []
    assert folder.asked(minutes=5) == [("2018-04-02", "2018-04-02", "new")]


def test_hidden_and_unfinished_names_are_no_files(folder: Folder):
    folder.pattern = "{partition}*"
    names = (
        "_2018-04-01.csv",
        ".2018-04-02.csv",
        "2018-04-03.csv.tmp",
        "2018-04-04.csv.crdownload",
    )
    for name in (*names, "2018-04-05.csv.part", "readme.txt", "2018-02-30.csv", "2018-4-06.csv"):
        folder.put(name)
    folder.put("2018-04-09.csv")
    assert folder.asked() == [("2018-04-09", "2018-04-09", "new")]
    listed = discover(Source(uri=f"{folder.home}/2018-04-0*", format="csv"), hashes=False)
    assert [file.name for file in listed] == ["2018-04-09.csv"]


def test_a_late_file_and_other_content_say_so(folder: Folder):
    folder.put("2018-04-02.csv")
    folder.put("2018-04-03.csv")
    first = folder.look()
    folder.put("2018-04-01.csv")
    folder.put("2018-04-03.csv", "corrected")
    assert folder.asked() == []
    second = folder.look(minutes=5)
    assert [(r.first, r.reason) for r in second.requests] == [
        ("2018-04-01", "late"),
        ("2018-04-03", "changed"),
    ]
    assert second.requests[0].why == (
        "2018-04-01.csv arrived late: 2018-04-03 had been requested before"
    )
    assert len({request.run_key for request in [*first.requests, *second.requests]}) == 3


def test_the_same_files_have_the_same_run_key(folder: Folder):
    folder.put("2018-04-01.csv")
    first = folder.look().requests
    folder.cursor = "damaged"
    assert folder.look().requests == first


def test_files_that_come_back_are_asked_for_again(folder: Folder):
    keys = []
    for content in ("first", "corrected", "first", "corrected"):
        folder.put("2018-04-01.csv", content)
        os.utime(folder.home / "2018-04-01.csv", (1e9, 1e9 + len(content)))
        folder.look()
        keys += [request.run_key for request in folder.look(minutes=5).requests]
    assert len(keys) == len(set(keys)) == 3  # the first look took what it saw for complete


def test_a_marker_declares_a_partition_complete(folder: Folder):
    folder.pattern = "{partition}/*.csv"
    folder.settings = {"arrivals": {"success_marker": "_SUCCESS"}}
    folder.put("2018-04-01/a.csv")
    folder.put("2018-04-02/a.csv")
    folder.put("2018-04-02/_SUCCESS")
    assert folder.asked() == [("2018-04-02", "2018-04-02", "new")]
    folder.put("2018-04-01/_SUCCESS")
    assert folder.asked() == [("2018-04-01", "2018-04-01", "late")]


def test_a_second_file_of_a_partition_asks_again(folder: Folder):
    folder.put("2018-04-01-a.csv")
    folder.look()
    folder.put("2018-04-01-b.csv")
    folder.look()
    assert folder.asked(minutes=5) == [("2018-04-01", "2018-04-01", "changed")]


def test_days_that_are_not_over_and_days_outside_wait(folder: Folder):
    folder.settings = {"end": "2018-05-01"}
    folder.put("2018-03-31.csv")
    folder.put("2018-05-01.csv")
    folder.put("2018-04-30.csv")
    assert folder.asked() == [("2018-04-30", "2018-04-30", "new")]
    today = Folder(home=folder.home.parent / "today")
    today.put(f"{today.now.date()}.csv")
    assert today.asked() == []
    assert len(today.asked(minutes=24 * 60)) == 0
    assert len(today.asked(minutes=1)) == 1


def test_no_more_runs_than_wanted_and_the_rest_later(folder: Folder):
    folder.settings = {"arrivals": {"runs_per_look": 2}}
    for day in ("01", "03", "05", "07", "09"):
        folder.put(f"2018-04-{day}.csv")
    asked = [folder.asked(minutes=1) for _ in range(4)]
    assert [[first for first, _, _ in look] for look in asked] == [
        ["2018-04-01", "2018-04-03"],
        ["2018-04-05", "2018-04-07"],
        ["2018-04-09"],
        [],
    ]


def test_one_run_at_a_time_by_default_the_earliest_first(folder: Folder):
    folder.settings = {"arrivals": {}}
    for day in ("05", "01", "03"):
        folder.put(f"2018-04-{day}.csv")
    asked = [folder.asked(minutes=1) for _ in range(3)]
    assert [look[0][0] for look in asked] == ["2018-04-01", "2018-04-03", "2018-04-05"]


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("**/{partition}.csv", "2018-04-01.csv"),
        ("{partition}", "2018-04-01/deep/part.csv"),
        ("day={partition}/part-*.csv", "day=2018-04-01/part-1.csv"),
        ("{partition}/{partition}.csv", "2018-04-01/2018-04-01.csv"),
        ("**/{partition}.csv", "a/b/2018-04-01.csv"),
        ("cards-{partition}-[0-9].csv", "cards-2018-04-01-7.csv"),
    ],
)
def test_patterns_find_what_ingest_reads(folder: Folder, pattern: str, name: str):
    folder.pattern = pattern
    folder.put(name)
    folder.put("else/2018-04-02.txt")
    assert folder.asked() == [("2018-04-01", "2018-04-01", "new")]
    uri = f"{folder.home}/{pattern}".replace("{partition}", "2018-04-01")
    assert len(discover(Source(uri=uri, format="csv"), hashes=False)) == 1


def test_hours(folder: Folder):
    folder.settings = {"partition": "hourly", "timezone": "Europe/Berlin"}
    folder.put("2018-04-01-05.csv")
    folder.put("2018-04-01-06-b.csv")
    folder.put("2018-04-01.csv")
    assert folder.asked() == [("2018-04-01-05:00", "2018-04-01-06:00", "new")]


def test_ten_thousand_files_take_less_than_a_second(folder: Folder):
    folder.settings = {"start": "1990-01-01"}
    folder.home.mkdir()
    start = dt.date(1990, 1, 1)
    for number in range(10_000):
        (folder.home / f"{start + dt.timedelta(days=number)}.csv").touch()
    folder.put("1990-01-01.csv")
    took = []
    for _ in range(3):
        begin = clock.process_time()  # of the processor: a busy machine does not count
        folder.look(minutes=1)
        took.append(clock.process_time() - begin)
    assert min(took) < 1.0, took
    assert len(folder.cursor or "") < 60_000
    late = folder.home / "1990-01-05.csv"
    os.utime(late, (1, 1))
    folder.look(minutes=1)
    assert folder.asked(minutes=1) == [("1990-01-05", "1990-01-05", "changed")]
