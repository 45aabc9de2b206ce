"""Trainings on a GPU, in processes of their own; skipped where there is none."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline_assets.training.config import TrainingJob

pytestmark = pytest.mark.gpu
Start = Callable[[TrainingJob], subprocess.Popen[str]]


def trained(start: Start, job: TrainingJob) -> str:
    """Train on one GPU; return what was said."""
    process = start(job)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert "x cuda" in out
    return out


def last_loss(job: TrainingJob) -> float:
    epochs = json.loads((Path(job.output) / "history.json").read_text())["epochs"]
    return epochs[-1]["train_loss"]


def test_precisions_learn_the_same_and_are_reported(make_job, start: Start) -> None:  # type: ignore[no-untyped-def]
    losses = {}
    for precision in ("float32", "bfloat16", "float16"):
        job = make_job(precision=precision)
        out = trained(start, job)
        assert out.count(" samples/s, ") == 3 and "TFLOP/s per GPU" in out
        losses[precision] = last_loss(job)
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=5e-3)
    assert losses["float16"] == pytest.approx(losses["float32"], rel=5e-3)


def test_two_trainings_give_the_same_bytes(make_job, start: Start) -> None:  # type: ignore[no-untyped-def]
    jobs = [make_job(), make_job()]
    for job in jobs:
        trained(start, job)
    one, other = ((Path(job.output) / "model.safetensors").read_bytes() for job in jobs)
    assert one == other


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_a_reload_names_the_step_that_was_not_finite(
    make_job, start: Start, precision: str
) -> None:  # type: ignore[no-untyped-def]
    job = make_job(
        factory="tests.training.factories:overflowing",
        options={"furthest": 3e-3},
        warmup_share=0.9,
        on_not_finite="reload",
        reload_rate_factor=0.1,
        precision=precision,
    )
    out = trained(start, job)
    assert "going on from the end of epoch 1 with the learning rate times 0.1" in out
    (reload,) = json.loads((Path(job.output) / "history.json").read_text())["reloads"]
    assert reload["epoch"] == 2 and len(reload["row_ids"]) == 5
