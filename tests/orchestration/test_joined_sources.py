"""Sources joined to the events: published by partition, stale with each new version, handled by rule."""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow.parquet as pq
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.loader import LoadingContextForTest

from pipeline_assets.orchestration.assets import source_assets
from tests.orchestration.conftest import Project, failure_text
from tests.orchestration.timed_use_case import TimedProject, day, timed_project
from tests.orchestration.tiny_use_case import at_home, write_project

DAYS = 3
CUSTOMERS = ("customers_raw", "customers_validated", "customers_rejected")
DAILY = ("validated", "joined", "unmatched", "features", "tensor_shards")
COLUMNS = [
    {"name": "number", "type": "string"},
    {"name": "since", "type": "timestamp"},
    {"name": "limit", "type": "float64", "min": 0},
]


def customers(**changes: Any) -> dict[str, Any]:
    """The use case with customers, whose limit is a feature."""
    return {
        "sources": {
            "customers": {
                "source": {"uri": "customers", "format": "jsonl"},
                "contract": {
                    "key": ["number", "since"],
                    "columns": COLUMNS,
                    "table": {"max_rejected_share": 0.5},
                },
                "join": {"customer": "number"},
                "valid_from": "since",
                **changes,
            }
        },
        "features": {
            "columns": [
                {"name": "amount", "kind": "numeric"},
                {"name": "share", "kind": "numeric", "expression": "amount / customers_limit"},
            ],
            "rolling": [
                {
                    "name": "customer",
                    "entity": ["customer"],
                    "windows": ["2d"],
                    "aggregations": [{"function": "max", "of": "amount / customers_limit"}],
                }
            ],
        },
    }


def deliver(project: Project, rows: Iterable[tuple[int, int, float]], name: str = "a") -> None:
    """Write customers: number, the day since when, limit."""
    folder = project.home / "customers"
    folder.mkdir(exist_ok=True)
    lines = [
        json.dumps({"number": f"c{number}", "since": f"{day(since)}T00:00:00Z", "limit": limit})
        for number, since, limit in rows
    ]
    (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


@contextmanager
def project_of(home: Path, **changes: Any) -> Iterator[TimedProject]:
    with timed_project(home, customers(**changes), days=DAYS) as project:
        deliver(project, [(number, 0, 100 + number) for number in range(8)])
        yield project


@pytest.fixture
def project(tmp_path: Path) -> Iterator[TimedProject]:
    with project_of(tmp_path) as made:
        yield made


def renew_customers(project: TimedProject) -> None:
    keys = [dg.AssetKey([project.use_case.name, asset]) for asset in CUSTOMERS]
    result = project.definitions().resolve_implicit_global_asset_job_def()
    assert result.execute_in_process(instance=project.instance, asset_selection=keys).success


def stale(project: TimedProject) -> dict[str, list[str]]:
    graph = project.definitions().resolve_asset_graph()
    resolver = CachingStaleStatusResolver(
        project.instance, graph, LoadingContextForTest(project.instance)
    )
    found: dict[str, list[str]] = {}
    for asset in DAILY:
        key = dg.AssetKey([project.use_case.name, asset])
        for partition in project.all_days(0, DAYS - 1):
            if resolver.get_status(key, partition) == StaleStatus.STALE:
                found.setdefault(asset, []).append(partition)
    return found


def rows(project: TimedProject, asset: str, number: int) -> list[dict[str, Any]]:
    version = project.lake.dataset("payments", asset).require(day(number))
    return [
        row for uri in version.uris("rows", ".parquet") for row in pq.read_table(uri).to_pylist()
    ]


def checks(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    return {
        check.check_name: check
        for check in result.get_asset_check_evaluations()
        if check.asset_key.path[-1] == "joined"
    }


def test_events_with_the_columns_of_their_source(project: TimedProject) -> None:
    deliver(project, [(1, 2, 50.0), (2, 1, -1.0)], "b")
    result = project.days(0, DAYS - 1)
    assert result.success, failure_text(result)
    days = project.all_days(0, DAYS - 1)
    assert {asset: list(project.published(asset)) for asset in DAILY} == dict.fromkeys(DAILY, days)
    for asset in CUSTOMERS:
        assert list(project.published(asset)) == ["all"]
    assert project.lake.dataset("payments", "customers_rejected").require().rows == 1
    limits = {
        (number, row["customer"]): row["customers_limit"]
        for number in range(DAYS)
        for row in rows(project, "joined", number)
    }
    assert {limit for (number, who), limit in limits.items() if who == "c1" and number >= 2} == {50}
    assert {limit for (number, who), limit in limits.items() if who == "c1" and number < 2} == {101}
    assert {limit for (_, who), limit in limits.items() if who == "c2"} == {102}
    for row, feature in zip(rows(project, "joined", 2), rows(project, "features", 2)):
        assert feature["share"] == pytest.approx(row["amount"] / row["customers_limit"])
        assert feature["customer_max_2d"] >= feature["share"] - 1e-6
    found = checks(result)
    assert {name: check.passed for name, check in found.items()} == {
        "customers_matched": True,
        "conservation": True,
    }
    assert stale(project) == {}


def test_lineage_goes_back_to_the_source(project: TimedProject) -> None:
    result = project.one_day(0)
    assert result.success, failure_text(result)
    lineage = {
        event.asset_key.path[-1]: event.materialization.metadata["dagster/column_lineage"].value
        for event in result.get_asset_materialization_events()
        if event.asset_key is not None and event.asset_key.path[-1] in ("joined", "features")
    }
    limit = lineage["joined"].deps_by_column["customers_limit"]
    assert [(dep.asset_key.path, dep.column_name) for dep in limit] == [
        (["payments", "customers_validated"], "limit")
    ]
    share = lineage["features"].deps_by_column["share"]
    assert [(dep.asset_key.path, dep.column_name) for dep in share] == [
        (["payments", "joined"], "amount"),
        (["payments", "joined"], "customers_limit"),
    ]
    ancestors = project.lake.dataset("payments", "tensor_shards").require(day(0)).manifest.metadata
    assert {"customers_raw", "customers_validated", "joined", "validated"} <= set(
        ancestors["ancestors"]
    )


def test_a_new_version_of_a_source_makes_all_days_stale_and_changes_those_it_concerns(
    project: TimedProject,
) -> None:
    assert project.days(0, DAYS - 1).success
    assert stale(project) == {}
    before = {asset: project.published(asset) for asset in DAILY}
    deliver(project, [(1, DAYS - 1, 50.0)], "b")
    renew_customers(project)
    days = project.all_days(0, DAYS - 1)
    assert stale(project) == {"joined": days, "unmatched": days}
    # One day by itself, as the schedule does it, and the others in one run.
    for result in (project.one_day(DAYS - 1), project.days(0, DAYS - 2)):
        assert result.success, failure_text(result)
    assert stale(project) == {}
    after = {asset: project.published(asset) for asset in DAILY}
    changed = {
        asset: [key for key in days if after[asset][key] != before[asset][key]] for asset in DAILY
    }
    last = days[-1:]
    assert changed == {
        "validated": [],
        "joined": last,
        "unmatched": [],
        "features": last,
        "tensor_shards": last,
    }


def test_single_days_and_a_range_give_the_same(tmp_path: Path) -> None:
    published = []
    for place in ("range", "days"):
        with project_of(tmp_path / place, unmatched="reject") as project:
            deliver(project, [(number, 2 * (number % 2), 9.0) for number in range(6)])
            runs = (
                [project.days(0, DAYS - 1)]
                if place == "range"
                else [project.one_day(number) for number in range(DAYS)]
            )
            for result in runs:
                assert result.success, failure_text(result)
            published.append({asset: project.published(asset) for asset in DAILY})
            assert stale(project) == {}
    assert published[0] == published[1]


def test_times_without_an_offset_are_where_the_use_case_is(project: TimedProject) -> None:
    project.edit(lambda attributes: attributes["time"].update(timezone="Europe/Berlin"))
    line = {"number": "c1", "since": "2018-03-25T12:00:00", "limit": 5}
    (project.home / "customers" / "a.jsonl").write_text(json.dumps(line) + "\n", encoding="utf-8")
    renew_customers(project)
    version = project.lake.dataset("payments", "customers_validated").require()
    (row,) = pq.read_table(version.uris("rows", ".parquet")[0]).to_pylist()
    assert row["since"].isoformat() == "2018-03-25T10:00:00+00:00"


def test_events_without_a_row_are_kept_counted_and_told(project: TimedProject) -> None:
    deliver(project, [(number, 0, 9.0) for number in range(7)])
    result = project.one_day(0)
    assert result.success, failure_text(result)
    lacking = sum(row["customer"] == "c7" for row in rows(project, "joined", 0))
    assert lacking
    check = checks(result)["customers_matched"]
    assert not check.passed
    assert check.severity == dg.AssetCheckSeverity.WARN
    assert f"{lacking} of 40 events have no row in customers (kept" in str(check.description)
    assert rows(project, "unmatched", 0) == []


def test_rejected_events_are_in_unmatched(tmp_path: Path) -> None:
    with project_of(tmp_path, unmatched="reject") as project:
        deliver(project, [(number, 0, 9.0) for number in range(7)])
        result = project.one_day(0)
        assert result.success, failure_text(result)
        out = rows(project, "unmatched", 0)
        assert {row["customer"] for row in out} == {"c7"}
        assert [row["_unmatched"] for row in out] == [["customers"]] * len(out)
        assert len(rows(project, "features", 0)) == 40 - len(out)
        assert checks(result)["conservation"].passed


def test_fail_keeps_back_the_days_it_concerns_and_no_others(tmp_path: Path) -> None:
    with project_of(tmp_path, unmatched="fail") as project:
        deliver(project, [(number, 1, 9.0) for number in range(8)])
        result = project.days(0, DAYS - 1)
        assert not result.success
        message = failure_text(result)
        assert f"1 of {DAYS} partitions failed" in message
        assert "40 of 40 events have no row in customers" in message
        assert list(project.published("joined")) == project.all_days(1, DAYS - 1)


def test_without_time_the_whole_table_is_joined(tmp_path: Path) -> None:
    file = write_project(tmp_path)
    with at_home(tmp_path), dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        project = Project(home=tmp_path, file=file, instance=instance)
        cities = {
            "source": {"uri": "cities", "format": "csv"},
            "contract": {
                "key": ["name"],
                "columns": [
                    {"name": "name", "type": "string"},
                    {"name": "people", "type": "int64"},
                ],
            },
            "join": {"city": "name"},
        }
        feature = {"name": "people", "kind": "numeric", "expression": "cities_people"}

        def declare(attributes: dict[str, Any]) -> None:
            attributes["sources"] = {"cities": cities}
            attributes["features"]["columns"].append(feature)

        project.edit(declare)
        (tmp_path / "cities").mkdir()
        (tmp_path / "cities" / "a.csv").write_text("name,people\nParis,2100000\nBerlin,3700000\n")
        assets = ["raw", "validated", "rejected", "features", *source_assets(project.use_case)]
        result = project.run(asset_selection=[dg.AssetKey(["tiny", asset]) for asset in assets])
        assert result.success, failure_text(result)
        joined = project.current("joined")
        check = checks(result)["cities_matched"]
        assert not check.passed
        assert joined.manifest.metadata["unmatched"]["cities"] > 100  # those of Madrid
        tables = [
            pq.read_table(uri) for uri in project.current("features").uris("rows", ".parquet")
        ]
        people = [value for table in tables for value in table["people"].to_pylist()]
        assert len(people) == joined.rows
        assert {value for value in people if value == value} == {2_100_000, 3_700_000}
        upstream = project.current("features").manifest.upstream
        assert upstream == {"joined": joined.data_version}
