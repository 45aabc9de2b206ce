"""The sweep on tiny shards: a table, a best line, and nothing left behind."""

import dataclasses
import json
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


def test_batch_sizes_and_ranks(make_job, sweep: Sweep) -> None:  # type: ignore[no-untyped-def]
    job = make_job(batch_size=200)
    before = set(Path(job.output).parent.rglob("*"))
    status, out, err = sweep(job, "--seconds", "0.02")
    assert status == 0 and err == ""
    first, header, *lines, best = out.splitlines()
    assert first.startswith("dataloader: 403 training rows") and "rows/s" in header
    measured = [line.split() for line in lines]
    # The next sizes up, 512 and 1,024, are more rows than there are.
    assert {line[0] for line in measured} == {"64", "128", "200", "256"}
    assert {"1", "2"} <= {line[1] for line in measured}
    fastest = max(measured, key=lambda line: int(line[3].replace(",", "")))
    assert f"training.batch_size {fastest[0]}" in best
    assert f"training.processes {fastest[1]}" in best
    assert set(Path(job.output).parent.rglob("*")) - before == {
        Path(job.output).with_name("job.json")
    }


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
    assert "training.precision" in lines["best:"]


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
    assert batch_sizes(1024, 10**6) == [256, 512, 1024, 2048, 4096]
    assert batch_sizes(1, 10) == [1, 2, 4]
    assert batch_sizes(64, 10) == [10]
