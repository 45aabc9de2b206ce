"""Real processes: ranks agree, and whoever is killed leaves neither orphans nor other weights."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
from safetensors.numpy import load_file

from pipeline_assets.training.config import TrainingJob
from pipeline_assets.training.reason import Reason
from pipeline_assets.training.worker import main
from tests.training.processes import PipesFiles, after_epochs, all_gone, family_of, finish, workers

Start = Callable[..., subprocess.Popen[str]]
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


@pytest.mark.parametrize("killed", ["training rank 1", "the agent of the training"])
def test_no_restart_says_who_died(long_job, start: Start, killed: str) -> None:  # type: ignore[no-untyped-def]
    job = long_job(checkpoint_seconds=0)
    process = start(job)
    family = family_of(process, 2)
    after_epochs(job, 2)
    (workers(family)[1] if killed == "training rank 1" else family[1]).kill()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert (
        f"training failed: {killed} was killed by signal 9, as the kernel does when memory" in err
    )
    assert "Materialise again: it goes on from epoch " in err and "Traceback" not in err
    assert all_gone(family)


def test_a_restart_is_said_and_pipes_stays_open(long_job, start: Start, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    pipes, temporary = PipesFiles(tmp_path), tmp_path / "temporary"
    temporary.mkdir()
    job = long_job(max_restarts=2)
    process = start(job, TMPDIR=str(temporary), **pipes.variables)
    family = family_of(process, 2)
    after_epochs(job, 1)
    workers(family)[1].kill()
    deadline = time.monotonic() + 100
    while not pipes.logged("WARNING"):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.1)
    process.terminate()
    process.communicate(timeout=60)
    assert pipes.logged("WARNING") == [
        "restarted (attempt 2 of 3) after rank 1 was killed by signal 9"
    ]
    assert pipes.methods()[0] == "opened" and pipes.methods()[-1] == "closed"
    assert pipes.methods().count("closed") == 1
    assert not [path.name for path in temporary.glob("torchelastic*")]


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


@pytest.mark.parametrize("what", ["TypeError", "IndexError"])
def test_an_error_in_a_factory_is_the_reason_with_its_line(make_job, what: str) -> None:  # type: ignore[no-untyped-def]
    job = make_job(factory="tests.training.factories:mistaken", options={"raises": what})
    path = Path(job.output).with_name("job.json")
    path.write_text(json.dumps(job.to_dict()))
    assert main(str(path)) == 1
    assert Reason(Path(job.output), {}).is_final()
    said = str(Reason(Path(job.output), {}).read())
    assert "wrong index" in said and "factories.py" in said and "in mistaken" in said


def test_a_disk_that_is_full_is_no_matter_of_restarts(make_job, start: Start) -> None:  # type: ignore[no-untyped-def]
    job = make_job(processes=1, max_restarts=1)
    # In the way of the file, as a full disk would be, also for root.
    (Path(job.output) / "metrics.jsonl").mkdir(parents=True)
    out, err = start(job).communicate(timeout=200)
    assert "training failed: " in err and "metrics.jsonl could not be written: [Errno 21]" in err
    assert "Traceback" not in err and out.count("training on") == 1


SHELL = {
    # Ends, as a shell does that somebody has logged out of.
    "by hand": '"$@" & echo $!; read wait',
    "by an orchestrator": 'PIPELINE_PARENT_PID=$$ "$@" & echo $!; read wait',
}


@pytest.mark.parametrize("started", list(SHELL))
def test_who_outlives_its_parent(make_job, started: str) -> None:  # type: ignore[no-untyped-def]
    job = make_job(max_epochs=6, patience=6, rows=2000, processes=1)
    path = Path(job.output).with_name("job.json")
    path.write_text(json.dumps(job.to_dict()))
    command = [sys.executable, "-m", "pipeline_assets.training.launch", str(path)]
    shell = subprocess.Popen(
        ["sh", "-c", SHELL[started], "sh", *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert shell.stdout is not None
    launcher = psutil.Process(int(shell.stdout.readline()))
    after_epochs(job, 1)
    family = [launcher, *launcher.children(recursive=True)]
    shell.kill()
    shell.communicate()
    assert all_gone(family)
    assert (Path(job.output) / "model.safetensors").exists() == (started == "by hand")


def test_reports_to_dagster_pipes_what_was_left_out(make_job, start: Start, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    pipes = PipesFiles(tmp_path)
    job = make_job(processes=2, on_damaged_shard="skip")
    (Path(job.shards) / "train/shard-00001.safetensors").write_bytes(b"")
    finish(start(job, **pipes.variables))
    texts = pipes.logged("WARNING")
    assert sum(text.startswith("epoch ") for text in pipes.logged("INFO")) == 3
    # Found by one rank, left out by both, and said once.
    assert sum("with 201 of its 403 rows" in text for text in texts) == 1
