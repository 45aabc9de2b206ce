"""Bad sources through Dagster: a sentence or quarantine, and what was published before stays whole."""

import json
import math
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline_assets.contract.halves import require_halves
from pipeline_assets.contract.results import ContractError
from pipeline_assets.orchestration.stage import StageRun
from pipeline_assets.shards.hashing import hash_categories
from tests.orchestration.conftest import Project, failure_text
from tests.orchestration.tiny_use_case import (
    COLUMNS,
    ROWS,
    good_rows,
    published_project,
    write_csv,
)

DATA = ("raw", "validated", "rejected", "features")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """The data part of the chain, published once from good rows."""
    with published_project(tmp_path_factory.mktemp("tiny"), assets=DATA) as project:
        yield project


@pytest.fixture
def landing(project: Project) -> Iterator[Path]:
    """The landing file with good rows in it, as it is after the test, too."""
    file = project.home / "landing" / "a.csv"
    write_csv(file, good_rows())
    yield file
    write_csv(file, good_rows())


@contextmanager
def edited(project: Project, change: Callable[[dict[str, Any]], None]) -> Iterator[None]:
    """The use case with a change, for a while."""
    before = project.file.read_bytes()
    project.edit(change)
    try:
        yield
    finally:
        project.file.write_bytes(before)


def run(project: Project, *assets: str) -> dg.ExecuteInProcessResult:
    return project.run(asset_selection=[dg.AssetKey(["tiny", a]) for a in assets or DATA])


def all_rows_with(column: str, value: str) -> list[dict[str, str]]:
    return [{**row, column: value} for row in good_rows()]


def refused(project: Project, *assets: str, publishes: tuple[str, ...] = ()) -> str:
    """Run on a bad source and return what a person reads; nothing but `publishes` may have moved.

    The versions before are still there and whole, those that something took the place of included.
    """
    before = {d.asset: d.require() for d in project.lake.datasets()}
    result = run(project, *assets)
    assert not result.success
    after = project.versions()
    moved = {asset for asset, version in before.items() if after[asset] != version.data_version}
    assert moved == set(publishes)
    for version in before.values():
        assert version.verify() == []
    for dataset in project.lake.datasets():
        assert dataset.require().verify() == []
    failures = [e.step_failure_data for e in result.all_events if e.is_step_failure]
    error = failures[0].error
    assert error is not None
    assert error.cause is None, "a second stack trace below the sentence"
    return failure_text(result).replace(str(project.home), "home")


# What no row can be read from: raw itself refuses, and nothing at all is published.


def test_missing_file(project: Project, landing: Path) -> None:
    landing.unlink()
    assert "source home/landing: the folder or glob holds no files" in refused(project)
    landing.parent.rmdir()
    assert "home/landing: nothing is there" in refused(project)


def test_empty_file(project: Project, landing: Path) -> None:
    landing.write_bytes(b"")
    assert "home/landing/a.csv empty" in refused(project)


def test_wrong_delimiter(project: Project, landing: Path) -> None:
    landing.write_text(landing.read_text().replace(",", ";"))
    text = refused(project)
    assert "home/landing/a.csv" in text
    assert "set source.csv.delimiter: ';'" in text


def test_missing_column(project: Project, landing: Path) -> None:
    rows = [{name: row[name] for name in COLUMNS if name != "age"} for row in good_rows()]
    write_csv(landing, rows, tuple(rows[0]))
    assert "home/landing/a.csv: missing column" in (text := refused(project))
    assert "'age'" in text


def test_renamed_column(project: Project, landing: Path) -> None:
    landing.write_text(landing.read_text().replace("tenure", "Tenures", 1))
    assert "'tenure' (nearest is 'Tenures'" in refused(project)


def test_truncated_parquet(project: Project, landing: Path) -> None:
    file = project.home / "columnar" / "a.parquet"
    write_parquet(file, good_rows())
    whole = file.read_bytes()
    with edited(project, lambda a: a["source"].update(uri="columnar", format="parquet")):
        file.write_bytes(whole[: len(whole) // 2])
        text = refused(project)
        assert "home/columnar/a.parquet" in text
        assert "truncated" in text


# What can be read and must not be used: raw keeps it for inspection, the gate stops the run there.


def test_header_only(project: Project, landing: Path) -> None:
    write_csv(landing, [])
    text = refused(project, publishes=("raw",))
    assert "the version before stays current: min_rows: 0 validated rows, at least 100" in text


def test_all_rows_bad(project: Project, landing: Path) -> None:
    write_csv(landing, all_rows_with("left", "7"))
    text = refused(project, publishes=("raw",))
    assert "100.00% of the rows rejected, at most 5.00% allowed" in text
    assert f"left.allowed: {ROWS}" in text


def test_one_class_only(project: Project, landing: Path) -> None:
    write_csv(landing, all_rows_with("left", "0"))
    text = refused(project, publishes=("raw", "validated"))
    assert f"label column 'left' has one class only: 0 of {ROWS} rows" in text


# What does no harm.


def test_reordered_and_extra_columns_change_no_row(project: Project, landing: Path) -> None:
    assert run(project).success
    before = project.versions()
    write_csv(landing, good_rows(), COLUMNS[::-1])
    result = run(project)
    assert result.success, failure_text(result)
    assert project.versions() == before
    write_csv(landing, [{**row, "note": "x"} for row in good_rows()], ("note", *COLUMNS))
    result = run(project)
    assert result.success, failure_text(result)
    assert project.versions()["validated"] == before["validated"]
    assert project.current("raw").manifest.metadata["ignored_columns"] == ["note"]


# Single bad values: their rows go to quarantine under the rule's name, the others go on.


def test_bad_values(project: Project, landing: Path) -> None:
    bad = {
        "tenure": (str(2**31), {"tenure.type"}),
        "id": (str(2**63), {"id.type"}),
        "amount": ("-Infinity", {"amount.finite", "amount.range"}),
        "city": ("x" * 10_000, {"city.max_length"}),
        "age": ("9" * 10_000, {"age.type"}),
    }
    rows, each = good_rows(), 5
    for number, (column, (value, _)) in enumerate(bad.items()):
        for row in rows[number * each : (number + 1) * each]:
            row[column] = value
    for row in rows[100:110]:
        row["amount"] = "NaN"  # a missing value, which this column allows
    write_csv(landing, rows)
    assert quarantined(project) == {rule: each for _, rules in bad.values() for rule in rules}
    stored = pq.read_table(project.current("rejected").local_path() / "rows").to_pylist()
    assert len(stored) == each * len(bad)
    for row in stored:
        column = row["rules"][0].split(".")[0]
        value, rules = bad[column]
        assert set(row["rules"]) == rules
        assert json.loads(row["original"])[column] == value
    table = pq.read_table(project.current("validated").local_path() / "rows")
    assert table["amount"].null_count == 10


def test_bytes_that_are_not_utf8(project: Project, landing: Path) -> None:
    content = b"".join(
        line.replace(b"a", b"\xe4") if number and number % 50 == 0 else line
        for number, line in enumerate(landing.read_bytes().splitlines(keepends=True))
    )
    bad = sum(b"\xe4" in line for line in content.splitlines())
    landing.write_bytes(content)
    assert bad
    assert quarantined(project) == {"malformed_line": bad}
    assert project.current("raw").manifest.metadata["malformed_by_reason"] == {
        "undecodable bytes": bad
    }


def quarantined(project: Project) -> dict[str, int]:
    """Run, and return the broken rules with their counts; nothing is lost and the rest goes on."""
    result = run(project)
    assert result.success, failure_text(result)
    raw, validated, rejected, features = (project.current(asset) for asset in DATA)
    assert raw.rows == ROWS == validated.rows + rejected.rows
    assert features.rows == validated.rows
    found = rejected.manifest.metadata["validation"]["violations"]
    return {rule: count for rule, count in found.items() if count}


def test_parquet_with_nanoseconds(project: Project, landing: Path) -> None:
    moment = 1_700_000_000_123_456_789
    file = project.home / "columnar" / "a.parquet"
    write_parquet(file, good_rows(), joined=pa.array([moment] * ROWS, pa.timestamp("ns")))

    def change(attributes: dict[str, Any]) -> None:
        attributes["source"].update(uri="columnar", format="parquet")
        attributes["contract"]["columns"].append({"name": "joined", "type": "timestamp"})

    with edited(project, change):
        assert quarantined(project) == {}
    table = pq.read_table(project.current("validated").local_path() / "rows")
    assert table.schema.field("joined").type == pa.timestamp("us", tz="UTC")
    expected = datetime.fromtimestamp(moment // 10**9, UTC).replace(microsecond=123_456)
    assert set(table["joined"].to_pylist()) == {expected}


def write_parquet(file: Path, rows: list[dict[str, str]], **further: pa.Array) -> None:
    kinds = {"id": int, "amount": float, "age": int, "tenure": int, "city": str, "left": int}
    columns = {name: [kind(row[name]) for row in rows] for name, kind in kinds.items()}
    file.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table({**columns, **further}), file)


# A full disk: the file system itself refuses, in the middle of writing and at the moment of publishing.


@contextmanager
def small_disk(folder: Path, kibibytes: int) -> Iterator[None]:
    """A file system of that size at `folder`, which keeps what it holds."""
    held = folder.with_name("held")
    folder.rename(held)
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={kibibytes}k", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        folder.rmdir()
        held.rename(folder)
        pytest.skip("mounting a small tmpfs needs root")
    try:
        shutil.copytree(held, folder, dirs_exist_ok=True)
        yield
        shutil.rmtree(held)
        shutil.copytree(folder, held)
    finally:
        subprocess.run(["umount", str(folder)], check=True)
        folder.rmdir()
        held.rename(folder)


def fill(folder: Path, *, leave: int) -> Path:
    """Take all space of the file system but `leave` bytes."""
    file = folder / "_filler"
    free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
    file.write_bytes(bytes(max(free - leave, 0)))
    return file


@pytest.mark.parametrize("leave", [0, 8192], ids=["at the first write", "while publishing"])
def test_disk_full(project: Project, landing: Path, leave: int) -> None:
    assert run(project).success
    write_csv(landing, good_rows(seed=1))
    lake = project.home / "data" / "lake"
    with small_disk(lake, 4096):
        filler = fill(project.home / "data" / "lake" / "tiny", leave=leave)
        text = refused(project)
        assert "No space left on device" in text
        filler.unlink()
        result = run(project)
        assert result.success, failure_text(result)
    assert project.current("validated").rows == ROWS
    assert project.current("validated").verify() == []


# What only training and evaluation could stumble over.


@pytest.mark.heavy
def test_null_and_constant_columns_and_a_category_never_seen_in_training(
    project: Project, landing: Path
) -> None:
    assert run(project).success
    features, validated = (
        pq.read_table(project.current(asset).local_path() / "rows").to_pylist()
        for asset in ("features", "validated")
    )
    unseen = {row["_row_id"] for row in features if row["_split"] == "test"}
    ids = {str(row["id"]) for row in validated if row["_row_id"] in unseen}
    rows = [{**row, "age": "", "tenure": "3"} for row in good_rows()]
    rows = [{**row, "city": "Atlantis"} if row["id"] in ids else row for row in rows]
    write_csv(landing, rows)
    result = project.run()
    assert result.success, failure_text(result)
    config = (project.current("trained_model").local_path() / "config.json").read_text()
    assert str(hash_categories(["Madrid"])[0]) in config
    assert str(hash_categories(["Atlantis"])[0]) not in config
    evaluation = project.current("evaluation_report").read_json("evaluation.json")
    metrics = evaluation["model"]["metrics"]
    assert all(math.isfinite(metrics[name]["value"]) for name in ("roc_auc", "log_loss"))
    assert metrics["roc_auc"]["value"] > 0.6


def test_a_run_killed_between_rejected_and_validated_harms_nothing_and_the_next_one_heals(
    project: Project, landing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = project.versions()
    write_csv(landing, [{**good_rows()[0], "age": "7"}, *good_rows()[1:]])
    publish = StageRun.publish

    def killed(run: StageRun, staged: Any, **options: Any) -> Any:
        if staged.asset == "validated":
            raise KeyboardInterrupt
        return publish(run, staged, **options)

    with monkeypatch.context() as patch:
        patch.setattr(StageRun, "publish", killed)
        assert not run(project, "raw", "validated", "rejected").success
    halves = [project.current(asset) for asset in ("validated", "rejected")]
    assert halves[0].data_version == before["validated"]
    assert halves[1].rows == 1
    with pytest.raises(ContractError, match="materialise validated and rejected again"):
        require_halves(*halves)
    assert run(project, "features").success, "validated is whole by itself"
    assert project.versions()["features"] == before["features"]
    assert run(project, "validated", "rejected").success
    require_halves(*(project.current(asset) for asset in ("validated", "rejected")))
