"""Bad input of single days: a clear outcome for each kind, nothing lost, other days as without it."""

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.orchestration.conftest import failure_text
from tests.orchestration.timed_use_case import DATA, TimedProject, day, payments, timed_project

COLUMNS = ("id", "at", "customer", "amount", "fraud")
CSV: dict[str, Any] = {
    # On the 25th of March, day 2, clocks in Berlin go from 02:00 to 03:00.
    "time": {"timezone": "Europe/Berlin", "unique_lookback": "1d"},
    "source": {"uri": "landing/{partition}*.csv", "format": "csv"},
    "contract": {"table": {"min_rows": 0, "max_rejected_share": 0.7}},
}
(
    CLEAN, MOMENTS, ZONES, REPEATED, REDELIVERED, VALUES, TWICE,
    NO_BYTES, HEADER_ONLY, LACKING, RENAMED, OTHER_TYPE, FURTHER, LAST,
) = range(14)  # fmt: skip


def row(number: int, at: str, customer: str = "c1", amount: str = "5.5", fraud: str = "0") -> list:
    return [str(number), at, customer, amount, fraud]


def good(of: int, count: int = 4) -> list[list[str]]:
    """Rows of a day without any mistake, ids from its number times 1,000."""
    return [row(of * 1000 + at, f"{day(of)}T12:{at:02d}:00", f"c{at % 2}") for at in range(count)]


def text_of(rows: list[list[str]], columns: tuple[str, ...] = COLUMNS) -> str:
    return "\n".join(",".join(fields) for fields in [list(columns), *rows]) + "\n"


MISTAKES = {
    MOMENTS: [
        row(1100, "2118-03-24T12:00:00"),
        row(1101, "2017-03-24T12:00:00"),
        row(1102, ""),
        row(1103, "03/24/2018 12:00"),
        row(1104, "2018-03-23T23:59:59"),
        row(1105, "2018-03-25T00:00:00"),
        row(1106, "12018-03-24T12:00:00"),
    ],
    REPEATED: [
        row(3100, f"{day(REPEATED)}T13:00:00", amount="-1"),
        row(3100, f"{day(REPEATED)}T13:00:01"),  # the first of its key that is sound
        row(3100, f"{day(REPEATED)}T13:00:02"),
        row(3000, f"{day(REPEATED)}T13:00:03"),
    ],
    REDELIVERED: [
        row(3001, f"{day(REDELIVERED)}T13:00:00"),  # valid the day before
        row(3100, f"{day(REDELIVERED)}T13:00:00"),  # the day before too, after a broken one
        row(2000, f"{day(REDELIVERED)}T13:00:00"),  # two days before: too long ago to be looked at
    ],
    VALUES: [
        row(5100, f"{day(VALUES)}T13:00:00", amount="-0.01"),
        row(5101, f"{day(VALUES)}T13:00:00", customer=""),
        row(5102, f"{day(VALUES)}T13:00:00", amount="nan"),
        row(5103, f"{day(VALUES)}T13:00:00", amount="inf"),
        row(5104, f"{day(VALUES)}T13:00:00", fraud="2"),
        ["5105", "unfinished"],
    ],
}


@dataclass
class Backfill:
    """A project after its days have been made."""

    project: TimedProject
    failures: dict[str, str] = field(default_factory=dict)
    """Step to what it said."""

    def rows(self, asset: str, number: int) -> list[dict[str, Any]]:
        version = self.project.lake.dataset("payments", asset).require(day(number))
        return [row for uri in version.uris("rows") for row in pq.read_table(uri).to_pylist()]

    def ids(self, number: int) -> list[int]:
        return sorted(row["id"] for row in self.rows("validated", number))

    def rules(self, number: int) -> dict[str, list[str]]:
        """File and line of each rejected row, and the rules that it broke."""
        return {
            f"{row['_source_file'].removeprefix(day(number))}:{row['_source_line']}": row["rules"]
            for row in self.rows("rejected", number)
        }

    def manifest(self, asset: str, number: int) -> Any:
        return self.project.lake.dataset("payments", asset).require(day(number)).manifest

    def samples(self, number: int, rule: str) -> list[dict[str, Any]]:
        return self.manifest("validated", number).metadata["validation"]["samples"][rule]


def write_days(folder: Path, *, mistakes: bool) -> None:
    """The files of all days, or the same without what is wrong with them."""
    folder.mkdir(exist_ok=True)
    for number in range(LAST + 1):
        rows = good(number) + (MISTAKES.get(number, []) if mistakes else [])
        (folder / f"{day(number)}.csv").write_text(text_of(rows), encoding="utf-8")
    if not mistakes:
        return
    zones = [
        row(2100, "2018-03-25 10:00"),
        row(2101, "2018-03-25T10:00:00.5+02:00"),
        row(2102, "2018-03-25T08:00:00Z"),
        row(2103, "2018-03-25T02:30:00"),
        row(2104, "2018-03-25"),
        row(2105, "2018-03-24T23:00:00Z"),
        row(2106, "2018-03-24T22:59:59Z"),  # the day before in Berlin
    ]
    _write(folder, ZONES, text_of(good(ZONES) + zones))
    _write(folder, TWICE, text_of(good(TWICE)), "-copy")
    _write(folder, NO_BYTES, "")
    _write(folder, HEADER_ONLY, text_of([]))
    short = [[*fields[:3], fields[4]] for fields in good(LACKING)]
    _write(folder, LACKING, text_of(short, ("id", "at", "customer", "fraud")))
    _write(folder, RENAMED, text_of(good(RENAMED), ("id", "at", "customer", "ammount", "fraud")))
    worded = [[*fields[:3], "five euros", fields[4]] for fields in good(OTHER_TYPE)]
    _write(folder, OTHER_TYPE, text_of(worded))
    wide = [["new", *fields] for fields in good(FURTHER)]
    _write(folder, FURTHER, text_of(wide, ("channel", *COLUMNS)))


def _write(folder: Path, number: int, text: str, name: str = "") -> None:
    (folder / f"{day(number)}{name}.csv").write_text(text, encoding="utf-8")


def _keys(*assets: str) -> list[dg.AssetKey]:
    return [dg.AssetKey(["payments", asset]) for asset in assets]


UNREADABLE, STOPPED = (LACKING, RENAMED), (OTHER_TYPE,)


@pytest.fixture(scope="module")
def backfill(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backfill]:
    """All days at once; what fails keeps nothing else back, and the days that can go on do so."""
    with timed_project(tmp_path_factory.mktemp("bad"), CSV) as project:
        write_days(project.home / "landing", mistakes=True)
        found = Backfill(project)
        found.failures["raw"] = failure_text(project.days(CLEAN, LAST))
        for first, last in ((CLEAN, HEADER_ONLY), (OTHER_TYPE, LAST)):
            result = project.days(first, last, job="replay")
            found.failures[f"validated {first}"] = failure_text(result)
        result = project.days(
            CLEAN, HEADER_ONLY, asset_selection=_keys("features", "tensor_shards")
        )
        assert result.success, failure_text(result)
        yield found


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backfill]:
    """The same days without the mistakes."""
    with timed_project(tmp_path_factory.mktemp("clean"), CSV) as project:
        write_days(project.home / "landing", mistakes=False)
        selection = _keys("raw", "validated", "rejected")
        result = project.days(CLEAN, LAST, asset_selection=selection)
        assert result.success, failure_text(result)
        yield Backfill(project)


def test_timestamps_outside_of_the_day_missing_and_unreadable(backfill: Backfill):
    assert backfill.ids(MOMENTS) == [1000, 1001, 1002, 1003]
    assert backfill.rules(MOMENTS) == {
        ".csv:6": ["in_partition"],
        ".csv:7": ["in_partition"],
        ".csv:8": ["at.nullable"],
        ".csv:9": ["at.type"],
        ".csv:10": ["in_partition"],
        ".csv:11": ["in_partition"],
        ".csv:12": ["at.type"],
    }
    assert backfill.samples(MOMENTS, "in_partition")[0]["at"] == "2118-03-24T12:00:00"


def test_formats_and_zones_mixed_in_a_day_with_a_change_of_clocks(backfill: Backfill):
    assert backfill.rules(ZONES) == {".csv:12": ["in_partition"]}
    found = {row["id"]: row["at"] for row in backfill.rows("validated", ZONES)}
    eight = dt.datetime(2018, 3, 25, 8, tzinfo=dt.UTC)
    assert {key: at for key, at in found.items() if key >= 2100} == {
        2100: eight,
        2101: eight + dt.timedelta(seconds=0.5),
        2102: eight,
        2103: eight.replace(hour=1, minute=30),
        2104: dt.datetime(2018, 3, 24, 23, tzinfo=dt.UTC),
        2105: dt.datetime(2018, 3, 24, 23, tzinfo=dt.UTC),
    }


def test_ids_that_come_twice_within_a_day_and_across_days(backfill: Backfill):
    assert backfill.ids(REPEATED) == [3000, 3001, 3002, 3003, 3100]
    assert backfill.rules(REPEATED) == {
        ".csv:6": ["amount.range"], ".csv:8": ["unique_key"], ".csv:9": ["unique_key"],
    }  # fmt: skip
    assert backfill.ids(REDELIVERED) == [2000, 4000, 4001, 4002, 4003]
    assert backfill.rules(REDELIVERED) == {".csv:6": ["unique_key"], ".csv:7": ["unique_key"]}
    assert [sample["kept"] for sample in backfill.samples(REDELIVERED, "unique_key")] == [
        f"{day(REPEATED)}.csv:3 of partition {day(REPEATED)}",
        f"{day(REPEATED)}.csv:7 of partition {day(REPEATED)}",
    ]


def test_negative_amounts_missing_entities_and_broken_lines(backfill: Backfill):
    assert backfill.ids(VALUES) == [5000, 5001, 5002, 5003]
    assert backfill.rules(VALUES) == {
        ".csv:6": ["amount.range"],
        ".csv:7": ["customer.nullable"],
        ".csv:8": ["amount.nullable"],
        ".csv:9": ["amount.finite"],
        ".csv:10": ["fraud.allowed"],
        ".csv:11": ["malformed_line"],
    }


def test_the_same_file_twice(backfill: Backfill, clean: Backfill):
    # Files are read in the order of their names, in which the copy comes first.
    assert backfill.rules(TWICE) == {f".csv:{line}": ["unique_key"] for line in range(2, 6)}
    assert backfill.manifest("raw", TWICE).rows == 8
    assert backfill.rows("validated", TWICE) == clean.rows("validated", TWICE)


def test_days_without_rows(backfill: Backfill):
    for number in (NO_BYTES, HEADER_ONLY):
        assert {asset: backfill.manifest(asset, number).rows for asset in DATA} == dict.fromkeys(
            DATA, 0
        )


def test_columns_that_are_missing_or_renamed_fail_their_day_alone(backfill: Backfill):
    said = backfill.failures["raw"]
    assert f"2 of {LAST + 1} partitions failed, the others are published" in said
    assert f"{day(LACKING)}: IngestError" in said and "missing column 'amount';" in said
    assert "set source.columns: {amount: ammount}" in said
    assert sorted(backfill.project.published("raw")) == [
        day(number) for number in range(LAST + 1) if number not in UNREADABLE
    ]


def test_a_column_of_another_type_stops_its_day_at_the_gate(backfill: Backfill):
    said = backfill.failures[f"validated {OTHER_TYPE}"]
    assert (
        f"1 of 3 partitions failed, the others are published: {day(OTHER_TYPE)}: GateError" in said
    )
    assert "rejected_share" in said
    assert day(OTHER_TYPE) not in backfill.project.published("rejected")


def test_a_further_column_is_left_out_and_told(backfill: Backfill, clean: Backfill):
    assert backfill.manifest("raw", FURTHER).metadata["ignored_columns"] == ["channel"]
    assert backfill.rows("validated", FURTHER) == clean.rows("validated", FURTHER)
    assert backfill.rules(FURTHER) == {}


def test_nothing_is_lost_and_days_without_mistakes_are_as_among_good_ones(
    backfill: Backfill, clean: Backfill
):
    published = backfill.project.published("validated")
    assert list(published) == [
        day(number) for number in range(LAST + 1) if number not in (*UNREADABLE, *STOPPED)
    ]
    for number in range(LAST + 1):
        if day(number) in published:
            rows = {a: backfill.manifest(a, number).rows for a in ("raw", "validated", "rejected")}
            assert rows["raw"] == rows["validated"] + rows["rejected"]
    undisturbed = [CLEAN, TWICE, FURTHER, LAST]
    theirs = clean.project.published("validated")
    assert [published[day(number)] for number in undisturbed] == [
        theirs[day(number)] for number in undisturbed
    ]
    assert {
        number: backfill.manifest("tensor_shards", number).rows for number in range(HEADER_ONLY + 1)
    } == {number: len(backfill.ids(number)) for number in range(HEADER_ONLY + 1)}


def test_columns_of_parquet_files_that_change_their_type(tmp_path: Path):
    """What fits goes on as it is, what can be read from its text too, the rest breaks `type`."""
    with timed_project(
        tmp_path, {"contract": {"table": {"min_rows": 0, "max_rejected_share": 1}}}, days=4
    ) as project:
        found = Backfill(project)
        _replace(project, 1, id=pa.int32(), at=pa.timestamp("ns"), amount=pa.float32())
        _replace(project, 2, amount=pa.string(), at=pa.string(), id=pa.float64())
        _replace(project, 3, fraud=pa.bool_())
        result = project.days(0, 3)
        assert result.success, failure_text(result)
        kinds = [dict(found.manifest("raw", number).schema) for number in range(4)]
        assert [kind["id"] for kind in kinds] == ["bigint", "bigint", "string", "bigint"]
        assert [kind["amount"] for kind in kinds] == ["double", "double", "string", "double"]
        for number in (0, 1, 2):
            assert len(found.rows("validated", number)) == 40
        as_it_was = {row["id"]: row["at"] for row in payments(2).to_pylist()}
        assert {
            row["id"]: row["at"].replace(tzinfo=None) for row in found.rows("validated", 2)
        } == as_it_was
        assert {tuple(row["rules"]) for row in found.rows("rejected", 3)} == {("fraud.type",)}
        assert found.manifest("features", 3).rows == 0


def _replace(project: TimedProject, number: int, **types: pa.DataType) -> None:
    """Write the file of a day with other types."""
    table = payments(number)
    for name, kind in types.items():
        at = table.schema.get_field_index(name)
        table = table.set_column(at, name, table.column(name).cast(kind, safe=False))
    pq.write_table(table, project.home / "landing" / f"{day(number)}.parquet")
