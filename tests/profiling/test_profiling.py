"""Figures of a block of code and its children, and the table made of them."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline_assets.profiling import Profile, bottleneck, profile, stage_table


def _profile(**changes: float) -> Profile:
    values = {
        "wall_seconds": 10.0,
        "cpu_seconds": 1.0,
        "peak_rss_bytes": 300 * 2**20,
        "read_bytes": 5 * 2**30,
        "written_bytes": 1000,
        "cores": 4,
    }
    return Profile(**{**values, **changes})  # pyright: ignore[reportArgumentType]


def test_waiting_is_wall_time_without_cpu_time() -> None:
    with profile() as measured:
        time.sleep(0.3)
    assert 0.3 <= measured.result.wall_seconds < 5
    assert measured.result.cpu_seconds < 0.3


def test_children_count(tmp_path: Path) -> None:
    """CPU time, memory and bytes of a child that is gone when the block ends."""
    code = (
        "import time; held = bytearray(200 * 2**20); end = time.process_time() + 0.5\n"
        "while time.process_time() < end: pass\n"
        f"open({str(tmp_path / 'big')!r}, 'wb').write(held[: 20 * 2**20]); time.sleep(0.5)"
    )
    with profile() as measured:
        subprocess.run([sys.executable, "-c", code], check=True)
    assert measured.result.cpu_seconds > 0.4
    assert measured.result.peak_rss_bytes > 200 * 2**20
    assert measured.result.written_bytes >= 20 * 2**20


def test_a_failing_block_is_measured_too() -> None:
    with pytest.raises(ValueError), profile() as measured:
        raise ValueError
    assert measured.result.wall_seconds >= 0


def test_the_result_is_complete_only_after_the_block() -> None:
    with profile() as measured, pytest.raises(RuntimeError, match="only after"):
        _ = measured.result


def test_profiles_survive_json() -> None:
    one = _profile()
    assert Profile.from_dict({**json.loads(json.dumps(one.to_dict())), "new_key": 1}) == one


def test_the_table_shows_stages_totals_and_the_bottleneck() -> None:
    table = stage_table(
        {"raw": _profile(), "validated": _profile(wall_seconds=30.0, cpu_seconds=100.0)}
    )
    lines = table.splitlines()
    assert lines[0].split() == [
        "stage",
        "wall",
        "s",
        "cpu",
        "s",
        "cores",
        "busy",
        "peak",
        "MiB",
        "read",
        "MiB",
        "written",
        "MiB",
    ]
    assert lines[2].split() == ["raw", "10.0", "1.0", "2%", "300", "5,120", "0.00"]
    assert lines[-2].split() == ["total", "40.0", "101.0", "300", "10,240", "0.00"]
    assert lines[-1].startswith(
        "bottleneck: validated, 75% of the time; 83% of 4 cores busy: bound by"
    )


@pytest.mark.parametrize(
    "cpu, reason",
    [
        (39.0, "bound by computation"),
        (10.0, "one thread at work"),
        (2.0, "waits for"),
        (5.0, "12% of 4"),
    ],
)
def test_the_bottleneck_says_why(cpu: float, reason: str) -> None:
    worst = bottleneck({"a": _profile(cpu_seconds=cpu), "b": _profile(wall_seconds=1.0)})
    assert worst is not None and worst.stage == "a"
    assert reason in worst.reason
    assert json.loads(json.dumps(worst.to_dict()))["stage"] == "a"


def test_no_stage_is_no_error() -> None:
    assert bottleneck({}) is None
    assert stage_table({}) == "no stage was profiled"
