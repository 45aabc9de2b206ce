"""Data by day: the same bytes in a range or day by day, staleness as far as windows reach, failures of single days."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from tests.orchestration.conftest import failure_text
from tests.orchestration.timed_use_case import DATA, TimedProject, day, timed_project

DAYS = 6


@pytest.fixture
def project(tmp_path: Path) -> Iterator[TimedProject]:
    with timed_project(tmp_path, days=DAYS) as made:
        yield made


def test_a_range_and_single_days_give_the_same_and_nothing_is_stale(tmp_path: Path):
    with timed_project(tmp_path / "range", days=4) as whole:
        result = whole.days(0, 3)
        assert result.success, failure_text(result)
        in_one = {asset: whole.published(asset) for asset in DATA}
        assert {asset: list(versions) for asset, versions in in_one.items()} == dict.fromkeys(
            DATA, whole.all_days(0, 3)
        )
        assert {asset: whole.recorded(asset) for asset in DATA} == in_one
        assert whole.stale() == {}
    with timed_project(tmp_path / "days", days=4) as single:
        for number in range(4):
            result = single.one_day(number)
            assert result.success, failure_text(result)
        assert {asset: single.published(asset) for asset in DATA} == in_one
        assert {asset: single.recorded(asset) for asset in DATA} == in_one
        assert single.stale() == {}


def test_corrected_days_make_stale_as_far_as_windows_reach(project: TimedProject):
    assert project.days(0, DAYS - 1).success
    before = project.published("features")
    project.land(2, seed=1)
    assert project.one_day(2, assets=("raw",)).success
    # Keys of the day after may be taken, or free again.
    assert project.stale() == {key: [day(2), day(3)] for key in ("validated", "rejected")}
    assert project.days(2, 3, job="replay").success
    affected = [day(2), day(3), day(4)]
    assert project.stale() == {"features": affected}
    result = project.days(2, 4)
    assert result.success, failure_text(result)
    assert project.stale() == {}
    after = project.published("features")
    assert [key for key in after if after[key] != before[key]] == affected


def test_the_same_again_in_one_run_leaves_nothing_stale(project: TimedProject):
    assert project.days(0, DAYS - 1).success
    before = {asset: project.published(asset) for asset in DATA}
    project.land(2)
    assert project.days(1, 3).success
    assert project.one_day(2).success
    assert {asset: project.published(asset) for asset in DATA} == before
    assert project.stale() == {}


def test_one_bad_day_keeps_no_other_back_and_a_retry_makes_it_alone(project: TimedProject):
    good = [key for key in project.all_days(0, DAYS - 1) if key != day(3)]
    path = project.land(3)
    path.write_bytes(b"PAR1 this is not what it says")
    failed = project.days(0, DAYS - 1)
    assert not failed.success
    said = failure_text(failed)
    assert f"1 of {DAYS} partitions failed, the others are published: {day(3)}: IngestError" in said
    assert path.name in said
    assert list(project.published("raw")) == good
    assert project.recorded("raw") == project.published("raw")
    assert project.published("validated") == {}

    project.land(3)
    again = project.days(0, DAYS - 1, tags={"dagster/parent_run_id": failed.run_id})
    assert again.success, failure_text(again)
    manifests = {
        key: project.lake.dataset("payments", "raw").require(key).manifest.run_id
        for key in project.all_days(0, DAYS - 1)
    }
    assert manifests == {**dict.fromkeys(good, failed.run_id), day(3): again.run_id}
    assert project.recorded("raw") == project.published("raw")
    assert project.stale() == {}


def test_no_password_reaches_the_log_of_a_range(
    project: TimedProject, monkeypatch: pytest.MonkeyPatch
):
    def refuse(*_: object, **__: object) -> None:
        raise ValueError("see the cause") from OSError("cannot open sftp://shop:hunter2@host/in")

    def refuse_openly(*_: object, **__: object) -> None:
        raise OSError("cannot open sftp://shop:hunter2@host/in")

    assert project.days(0, 1).success
    for stand_in in (refuse, refuse_openly):
        monkeypatch.setattr(
            "pipeline_assets.features.partitions.compute_partition_features", stand_in
        )
        failed = project.days(0, 1, asset_selection=[dg.AssetKey(["payments", "features"])])
        assert not failed.success
        log = "".join(str(entry) for entry in project.instance.all_logs(failed.run_id))
        assert "2 of 2 partitions failed" in log and "hunter2" not in log


def test_a_day_without_a_file_and_days_without_rows(project: TimedProject):
    (project.home / "landing" / f"{day(1)}.parquet").unlink()
    (project.home / "landing" / f"{day(2)}.parquet").write_bytes(b"")
    project.land(3, rows=0)
    failed = project.days(0, DAYS - 1)
    said = failure_text(failed)
    assert f"1 of {DAYS} partitions failed" in said
    assert f"landing/{day(1)}*.parquet: the folder or glob holds no files" in said
    assert list(project.published("raw")) == [
        k for k in project.all_days(0, DAYS - 1) if k != day(1)
    ]

    result = project.days(2, DAYS - 1)
    assert result.success, failure_text(result)
    rows = {
        key: project.lake.dataset("payments", "tensor_shards").require(key).rows
        for key in project.all_days(2, DAYS - 1)
    }
    assert rows == {day(2): 0, day(3): 0, day(4): 40, day(5): 40}
    assert project.stale() == {}


def test_a_gate_stops_its_day_only_and_its_check_names_it(project: TimedProject):
    project.edit(lambda attributes: attributes["contract"].update(table={"min_rows": 10}))
    project.land(3, rows=5)
    failed = project.days(0, DAYS - 1)
    said = failure_text(failed)
    assert f"1 of {DAYS} partitions failed" in said
    assert f"{day(3)}: GateError" in said
    assert list(project.published("validated")) == [
        key for key in project.all_days(0, DAYS - 1) if key != day(3)
    ]
    assert project.recorded("validated") == project.published("validated")
    (check,) = [
        evaluation
        for evaluation in failed.get_asset_check_evaluations()
        if evaluation.check_name == "min_rows"
    ]
    assert not check.passed
    assert check.description == f"failed for 1 of {DAYS} partitions: {day(3)}"

    project.land(3)
    assert project.one_day(3, assets=("raw",)).success
    again = project.days(0, DAYS - 1, tags={"dagster/parent_run_id": failed.run_id})
    assert again.success, failure_text(again)
    made = {
        key: project.lake.dataset("payments", "validated").require(key).manifest.run_id
        for key in project.all_days(0, DAYS - 1)
    }
    assert made == {
        # The day after must not repeat keys of the day, which are others now.
        key: again.run_id if key in (day(3), day(4)) else failed.run_id
        for key in project.all_days(0, DAYS - 1)
    }
    (check,) = [
        evaluation
        for evaluation in again.get_asset_check_evaluations()
        if evaluation.check_name == "min_rows"
    ]
    assert check.description == f"passed for {DAYS} partitions"
    assert project.stale() == {}
