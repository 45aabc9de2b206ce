"""run of a timed use case: which launches, in which order, and what a failure of one does to the others."""

import datetime as dt
from pathlib import Path

import pytest
import yaml

from pipeline_assets.__main__ import main
from pipeline_assets.command.timed_run import trainable_dates
from pipeline_assets.command.use_cases import find_use_case
from tests.command.conftest import spec


@pytest.fixture
def timed(use_cases: Path, tmp_path: Path) -> Path:
    """The landing folder of a timed use case `shop`, with files of 1 to 20 January but the tenth."""
    landing = tmp_path / "landing"
    landing.mkdir()
    document = spec("shop", f"{landing}/{{partition}}.csv")
    attributes = document["attributes"]
    attributes["contract"]["columns"].append({"name": "at", "type": "timestamp"})
    attributes["time"] = {"column": "at", "start": dt.date(2026, 1, 1), "label_delay": "1d"}
    attributes["time_split"] = {
        "train": "2d",
        "validation": "1d",
        "test": "2d",
        "every": "daily",
    }
    (use_cases / "shop" / "defs.yaml").write_text(yaml.safe_dump(document))
    for day in range(1, 21):
        if day != 10:
            (landing / f"2026-01-{day:02}.csv").write_text("id\n")
    return landing


@pytest.fixture
def launched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a stand-in for `dg` notes its arguments; it fails for the training date 2026-01-06."""
    script, notes = tmp_path / "dg", tmp_path / "launched"
    run = "2026-11-21 01:50:46 +0000 - dagster - DEBUG - job - 856d17e7-acd6-415d-b2f6-05913eb0ce56 - 1 - "
    script.write_text(
        f'#!/bin/sh\necho "$5 $7" >> {notes}\n'
        '[ "$7" = 2026-01-06 ] && exit 1\n'
        f'echo "{run}RUN_SUCCESS - Finished"\n'
    )
    script.chmod(0o755)
    monkeypatch.setattr("pipeline_assets.command.run.dg_command", lambda: str(script))
    return notes


def test_data_up_to_each_gap_then_every_trainable_date_then_the_backtest(
    timed: Path, launched: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "shop"]) == 1
    lines = launched.read_text().splitlines()
    assert lines[:2] == [
        "shop_data 2026-01-01...2026-01-09",
        "shop_data 2026-01-11...2026-01-20",
    ]
    # Two days of training and one of validation, a day of label delay that is not read, then two of test: the
    # missing tenth is in the way of all dates from the ninth to the fourteenth but the one it is the delay of.
    dates = [f"2026-01-{day:02}" for day in (5, 6, 7, 8, 11, 15, 16, 17, 18, 19)]
    assert lines[2:-1] == [f"shop_train {date}" for date in dates]
    assert lines[-1].strip() == "shop_backtest"
    out = capsys.readouterr().out
    assert "FAILED: shop_train --partition 2026-01-06" in out


def test_no_files_is_told_before_anything_is_launched(
    timed: Path, launched: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for file in timed.iterdir():
        file.unlink()
    assert main(["run", "shop"]) == 2
    assert "is of a partition from 2026-01-01 on" in capsys.readouterr().err
    assert not launched.exists()


def test_replay_names_the_job_for_a_range(timed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", "shop"]) == 2
    told = capsys.readouterr().err
    assert "dg launch --job shop_replay --partition-range 2026-01-01...<last partition>" in told


def test_dates_end_with_the_files(timed: Path, launched: Path) -> None:
    use_case = find_use_case("shop")
    keys = [f"2026-01-{day:02}" for day in range(1, 8)]
    assert trainable_dates(use_case, keys) == [dt.date(2026, 1, 5), dt.date(2026, 1, 6)]
