"""The sweep on tiny shards: a table, a best line, and nothing left behind."""

import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline_assets.training.config import TrainingJob
from pipeline_assets.training.sweep import batch_sizes, main

pytestmark = pytest.mark.timeout(200)


Sweep = Callable[..., tuple[int, str, str]]


@pytest.fixture
def sweep(capfd: pytest.CaptureFixture[str]) -> Sweep:
    """Return a function that gives status, standard output and errors of the command."""

    def run(job: TrainingJob, *arguments: str) -> tuple[int, str, str]:
        path = Path(job.output).with_name("job.json")
        path.write_text(json.dumps(job.to_dict()))
        status = main([str(path), *arguments])
        out, err = capfd.readouterr()
        return status, out, err

    return run


def test_the_command_finds_batch_size_and_ranks_and_goes_on_where_memory_ends(make_job) -> None:  # type: ignore[no-untyped-def]
    options = {"most_rows": 100, "rank": "1"}
    job = make_job(batch_size=200, factory="tests.training.factories:greedy", options=options)
    path = Path(job.output).with_name("job.json")
    path.write_text(json.dumps(job.to_dict()))
    before = set(path.parent.rglob("*"))
    done = subprocess.run(
        [sys.executable, "-m", "pipeline_assets.training.sweep", str(path), "--seconds", "0.02"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0 and done.stderr == "", done.stderr
    first, header, *rest = done.stdout.splitlines()
    assert first.startswith("dataloader: 403 training rows") and "rows/s" in header
    lines, best = [line.split() for line in rest[:-4]], rest[-4:]
    measured = [line for line in lines if "not" not in line]
    # The next sizes up, 512 and 1,024, are more rows than there are.
    assert {line[0] for line in measured if line[1] == "1"} == {"64", "128", "200", "256"}
    # One of two ranks has no room for half of 256 rows; the other waits for it in the middle of a step.
    assert [line[0] for line in measured if line[1] == "2"] == ["64", "128", "200"]
    [line] = [line for line in rest if line.split()[:2] == ["256", "2"]]
    assert line.endswith("not available: out of memory")
    fastest = max(measured, key=lambda line: int(line[3].replace(",", "")))
    assert best[0].startswith(
        f"best for this machine: batch size {fastest[0]} and {fastest[1]} rank"
    )
    assert f"training.batch_size {fastest[0]} " in best[1]
    assert (
        f"training.processes {fastest[1]}, and the variable OMP_NUM_THREADS={fastest[2]}" in best[2]
    )
    assert "the ranks are the workers" in best[3]
    assert set(path.parent.rglob("*")) == before


def test_larger_batches_are_tried_for_as_long_as_they_gain(make_job, sweep: Sweep) -> None:  # type: ignore[no-untyped-def]
    job = make_job(rows=4000, batch_size=4, factory="tests.training.factories:slow_with_many")
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        status, out, err = sweep(job, "--seconds", "0.02")
    finally:
        os.sched_setaffinity(0, cores)
    assert status == 0 and err == ""
    sizes = [int(line.split()[0]) for line in out.splitlines()[2:-4]]
    # Up to four times the configured one in any case, then until two have brought nothing.
    assert sizes == [1, 2, 4, 8, 16, 32, 64]


def test_precisions(make_job, sweep: Sweep) -> None:  # type: ignore[no-untyped-def]
    job = make_job()
    launch = dataclasses.replace(job.launch, processes=2)
    status, out, err = sweep(
        dataclasses.replace(job, launch=launch), "--what", "precision", "--seconds", "0.02"
    )
    assert status == 0 and err == ""
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert lines["float32"].split()[-1] == "+0.000000"
    # The same steps from the same weights, with fewer digits.
    assert 0 < abs(float(lines["bfloat16"].split()[-1])) < 0.05
    assert "not available: a mode of GPUs" in lines["tf32"]
    assert "not available: needs a GPU" in lines["float16"]
    assert "training.precision" in lines["best"]


def test_precisions_that_need_less_memory_are_measured_when_one_has_none(
    make_job, sweep: Sweep
) -> None:  # type: ignore[no-untyped-def]
    job = make_job(factory="tests.training.factories:greedy_in_float32")
    status, out, err = sweep(job, "--what", "precision", "--seconds", "0.02")
    assert status == 0 and err == ""
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert lines["float32"].endswith("not available: out of memory")
    assert lines["bfloat16"].split()[-1] == "+0.000000"
    assert "not available: needs a GPU" in lines["float16"]
    assert "training.precision bfloat16 in the use case, on 1 rank of" in lines["best"]


def test_a_rank_that_dies_ends_the_sweep_at_once(make_job, sweep: Sweep) -> None:  # type: ignore[no-untyped-def]
    job = make_job(factory="tests.training.factories:dying", processes=2)
    started = time.monotonic()
    status, _, err = sweep(job, "--what", "precision", "--seconds", "0.02")
    assert status == 1 and time.monotonic() - started < 60
    assert "sweep failed: rank 1 of 2 was killed: perhaps by the system" in err
    assert "Traceback" not in err


def test_what_cannot_be_trained_is_said_in_one_line(make_job, sweep: Sweep) -> None:  # type: ignore[no-untyped-def]
    job = make_job(label=1.0)
    status, _, err = sweep(job, "--seconds", "0.02")
    assert status == 1
    assert err.startswith("sweep failed: all 403 rows of the train split are positive")
    assert "Traceback" not in err
    status, _, err = sweep(dataclasses.replace(job, shards=f"{job.shards}-gone"))
    assert status == 1 and "-gone" in err
    path = next(Path(job.shards).rglob("train/*.safetensors"))
    path.unlink()
    status, _, err = sweep(job)
    assert status == 1 and path.name in err and "Traceback" not in err
    status, _, err = sweep(job, "--seconds", "0")
    assert status == 1 and "a candidate needs some time" in err


def test_batch_sizes_fit_the_rows() -> None:
    assert batch_sizes(1024, 10**6, doublings=2) == [256, 512, 1024, 2048, 4096]
    assert batch_sizes(1024, 10**6, doublings=4)[-2:] == [8192, 16384]
    assert batch_sizes(1, 10, doublings=2) == [1, 2, 4]
    assert batch_sizes(64, 10, doublings=2) == [10]
