"""A rank that hangs ends the training, with the stacks of all."""

import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline_assets.training.config import TrainingJob
from pipeline_assets.training.reason import ERROR_FILE
from tests.training.processes import (
    PipesFiles,
    after_epochs,
    all_gone,
    family_of,
    free_endpoint,
    on,
    workers,
)

Start = Callable[..., subprocess.Popen[str]]
pytestmark = pytest.mark.timeout(200)


def impatient(job: TrainingJob, **launch: object) -> TrainingJob:
    return on(job, timeout_seconds=4, **launch)


def test_a_rank_that_sleeps(make_job, start: Start) -> None:  # type: ignore[no-untyped-def]
    job = impatient(
        make_job(
            factory="tests.training.factories:stalling",
            options={"rank": 1, "step": 9},
            processes=2,
        )
    )
    process = start(job)
    family = family_of(process, 2)
    _, err = process.communicate(timeout=100)
    assert process.returncode == 1 and all_gone(family)
    # Nine steps are done: the first epoch of seven batches, and two of the second.
    said = re.search(
        r"training failed: no rank of this node has made progress for 4 seconds: rank 0 in epoch 2, batch 2; "
        r"rank 1 in epoch 2, batch 2\. Their stacks are in (\S+);",
        err,
    )
    assert said and "Traceback" not in err
    assert Path(said[1]) == Path(job.output) / "stacks"
    assert "factories.py" in (Path(said[1]) / "rank-1.txt").read_text()
    assert "backward" in (Path(said[1]) / "rank-0.txt").read_text()


def test_a_rank_that_is_stopped_under_dagster(make_job, start: Start, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    job = impatient(make_job(max_epochs=500, patience=500, rows=2000, processes=2))
    process = start(job, **PipesFiles(tmp_path).variables)
    family = family_of(process, 2)
    after_epochs(job, 1)
    workers(family)[1].send_signal(signal.SIGSTOP)
    process.communicate(timeout=100)
    assert process.returncode == 1 and all_gone(family)
    said = (Path(job.output) / ERROR_FILE).read_text()
    assert "Their stacks are in the run's log;" in said
    # It may have been in a batch or in the validation.
    assert re.search(
        r"rank \d in [a-z0-9, ]*epoch \d+[a-z0-9, ]* \(its process is stopped\)", said
    ), said
    assert said.count("(its process is stopped)") == 1
    for rank in (0, 1):
        assert "trainer.py" in (Path(job.output) / f"stacks/rank-{rank}.txt").read_text()


def test_a_node_that_does_not_come(make_job, start: Start) -> None:  # type: ignore[no-untyped-def]
    endpoint = free_endpoint()
    process = start(impatient(make_job(processes=1), nnodes="2", rdzv_endpoint=endpoint))
    _, err = process.communicate(timeout=100)
    assert process.returncode == 1
    assert f"training failed: 2 nodes did not meet at {endpoint} within 4 seconds. Start the" in err
    assert "Traceback" not in err
