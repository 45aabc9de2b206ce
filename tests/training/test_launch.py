"""Real processes: ranks agree, and whoever is killed leaves neither orphans nor other weights."""

import dataclasses
import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from pipeline_assets.training.config import TrainingJob
from tests.training.processes import after_epochs, all_gone, family_of, finish, workers

Start = Callable[[TrainingJob], subprocess.Popen[str]]
pytestmark = [pytest.mark.heavy, pytest.mark.timeout(300)]


@pytest.fixture
def long_job(make_job) -> Callable[..., TrainingJob]:  # type: ignore[no-untyped-def]
    """Epochs enough to be killed in."""
    return lambda **more: make_job(max_epochs=60, patience=60, rows=2000, processes=2, **more)


def test_ranks_give_the_same_model(make_job, start: Start) -> None:  # type: ignore[no-untyped-def]
    # 401 rows in batches of 100: the last holds one row, so three of four ranks have none.
    jobs = [make_job(processes=ranks, rows=401, batch_size=100) for ranks in (1, 2, 4)]
    said = [finish(start(job)) for job in jobs]
    assert "2 x cpu" in said[1]
    one, *others = (load_file(Path(job.output) / "model.safetensors") for job in jobs)
    for other in others:
        for name, tensor in one.items():
            np.testing.assert_allclose(other[name], tensor, atol=2e-6, err_msg=name)
    alone, *together = (losses(job) for job in jobs)
    for curve in together:
        assert curve == pytest.approx(alone, rel=1e-6)


def losses(job: TrainingJob) -> list[float]:
    history = json.loads((Path(job.output) / "history.json").read_text())
    return [entry["train_loss"] for entry in history["epochs"]]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_all(long_job, start: Start, number: signal.Signals) -> None:  # type: ignore[no-untyped-def]
    job = long_job()
    process = start(job)
    family = family_of(process, 2)
    after_epochs(job, 1)
    os.kill(process.pid, number)
    process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert all_gone(family)


def test_no_restart_says_which_rank_died(long_job, start: Start) -> None:  # type: ignore[no-untyped-def]
    job = long_job()
    process = start(job)
    family = family_of(process, 2)
    after_epochs(job, 1)
    workers(family)[1].kill()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "was killed by signal 9" in err and "Traceback" not in err
    assert all_gone(family)


def test_a_reason_is_given_in_one_sentence(make_job, start: Start) -> None:  # type: ignore[no-untyped-def]
    process = start(make_job(label=1.0, processes=2))
    _, err = process.communicate(timeout=100)
    assert process.returncode == 1
    assert "training failed: all 403 rows of the train split are positive" in err
    assert "Traceback" not in err


def test_a_reason_is_no_matter_of_restarts(make_job, start: Start, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    asked = tmp_path / "asked.txt"
    job = make_job(
        factory="tests.training.factories:refusing",
        options={"asked": str(asked)},
        processes=1,
        max_restarts=2,
    )
    _, err = start(job).communicate(timeout=200)
    assert "training failed: there is no such layer" in err
    assert asked.read_text(encoding="utf-8").splitlines() == ["asked"]


def test_reports_to_dagster_pipes_what_was_left_out(make_job, start: Start, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    pipes = pytest.importorskip("dagster_pipes")
    messages = tmp_path / "messages"
    context = tmp_path / "context"
    context.write_text(json.dumps({"extras": {}}))
    job = make_job(processes=2, on_damaged_shard="skip")
    (Path(job.shards) / "train/shard-00001.safetensors").write_bytes(b"")
    path = Path(job.output).with_name("job.json")
    path.write_text(json.dumps(dataclasses.asdict(job)))
    bootstrap = {
        "DAGSTER_PIPES_CONTEXT": pipes.encode_param({"path": str(context)}),
        "DAGSTER_PIPES_MESSAGES": pipes.encode_param({"path": str(messages)}),
    }
    previous = {key: os.environ.get(key) for key in bootstrap}
    os.environ.update(bootstrap)
    try:
        process = start(job)
    finally:
        for key, value in previous.items():
            os.environ.pop(key) if value is None else os.environ.update({key: value})
    finish(process)
    logged = [json.loads(line) for line in messages.read_text().splitlines()]
    assert [m["method"] for m in logged].count("opened") == 1
    texts = [m["params"]["message"] for m in logged if m["method"] == "log"]
    assert sum(text.startswith("epoch ") for text in texts) == 3
    # Found by one rank, left out by both, and said once.
    assert sum("with 201 of its 403 rows" in text for text in texts) == 1
