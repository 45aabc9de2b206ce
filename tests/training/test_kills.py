"""Processes that are killed at random points in mid-epoch, and other numbers of ranks that go on."""

import dataclasses
import json
import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from pipeline_assets.training.checkpoint import POINTER
from pipeline_assets.training.config import TrainingJob
from pipeline_assets.training.worker import train
from tests.training.processes import (
    PipesFiles,
    agent_of,
    all_gone,
    family_of,
    finish,
    free_endpoint,
    on,
    until_it_listens,
    workers,
)

Start = Callable[..., subprocess.Popen[str]]
FILES = ("model.safetensors", "config.json", "history.json")
FULL = os.environ.get("PIPELINE_TEST_FULL") == "1"
ROUNDS = 4 if FULL else 1
pytestmark = [pytest.mark.heavy, pytest.mark.timeout(600)]


def newest(job: TrainingJob) -> str | None:
    path = Path(job.checkpoints) / POINTER
    return json.loads(path.read_text())[0] if path.exists() else None


def in_mid_epoch(job: TrainingJob, point: random.Random) -> None:
    """Return a little after the next checkpoint that is not at the end of an epoch."""
    before, deadline = newest(job), time.monotonic() + 100
    while time.monotonic() < deadline:
        name = newest(job)
        if name not in (before, None) and "-batch-" in str(name):
            return time.sleep(point.uniform(0, 0.2))
        time.sleep(0.005)
    raise AssertionError("no checkpoint in mid-epoch was taken")


@pytest.fixture
def long_job(make_job) -> Callable[..., TrainingJob]:  # type: ignore[no-untyped-def]
    """Epochs long enough to be killed in, saved as often as their share of the time allows."""
    return lambda: make_job(
        max_epochs=4, patience=4, rows=8_000, batch_size=64, checkpoint_seconds=0, processes=2
    )


def test_kills_at_random_points_change_nothing(  # type: ignore[no-untyped-def]
    long_job, start: Start
) -> None:
    undisturbed, job = long_job(), long_job()
    finish(start(undisturbed))
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed of the points in time: {seed}")
    point = random.Random(seed)

    for _ in range(ROUNDS):
        process = start(on(job, max_restarts=1))
        family = family_of(process, 2)
        in_mid_epoch(job, point)
        ranks = workers(family)
        point.choice(ranks).kill()
        assert all_gone(ranks), "the other ranks are ended as well"
        # The agent restarts its ranks; where it is killed itself somebody has to run again.
        family = family_of(process, 2)
        in_mid_epoch(job, point)
        family[1].kill()
        process.communicate(timeout=60)
        assert process.returncode != 0
        assert all_gone(family)
    assert not (Path(job.output) / FILES[0]).exists()
    scaled = copy_of(job, "scaled")
    assert "resumed in epoch" in finish(start(job))
    for name in FILES:
        a, b = (Path(one.output) / name for one in (undisturbed, job))
        assert a.read_bytes() == b.read_bytes(), name
    assert not list(Path(job.checkpoints).glob(".*"))

    # From two ranks to one, and to three; this time the launcher is killed.
    process = start(on(scaled, processes=1))
    family = family_of(process, 1)
    in_mid_epoch(scaled, point)
    family[0].kill()
    process.communicate(timeout=60)
    assert all_gone(family)
    said = finish(start(on(scaled, processes=3)))
    assert "resumed in epoch" in said and "3 x cpu" in said
    assert_close(undisturbed, scaled)


@pytest.mark.usefixtures("one_thread")
def test_a_sharded_training_goes_on_in_mid_epoch(  # type: ignore[no-untyped-def]
    make_job, start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {"max_epochs": 3, "rows": 8_000 if FULL else 4_000, "batch_size": 64}
    undisturbed, job = (
        make_job(**settings, checkpoint_seconds=0, processes=2, parallelism="fsdp")
        for _ in range(2)
    )
    finish(start(undisturbed))
    process = start(job)
    family = family_of(process, 2)
    in_mid_epoch(job, random.Random(0))
    workers(family)[0].kill()
    process.communicate(timeout=60)
    assert process.returncode != 0 and all_gone(family)
    alone = copy_of(job, "alone")
    assert "resumed in epoch" in finish(start(job))
    for name in FILES:
        a, b = (Path(one.output) / name for one in (undisturbed, job))
        assert a.read_bytes() == b.read_bytes(), name
    train(alone)
    said = capsys.readouterr().out
    assert "resumed in epoch" in said and "1 x cpu" in said
    assert_close(undisturbed, alone)


def copy_of(job: TrainingJob, name: str) -> TrainingJob:
    """The same job with a copy of its checkpoints, and an output of its own."""
    copy = dataclasses.replace(
        job, checkpoints=f"{job.checkpoints}-{name}", output=f"{job.output}-{name}"
    )
    shutil.copytree(job.checkpoints, copy.checkpoints)
    return copy


def assert_close(one: TrainingJob, other: TrainingJob) -> None:
    """Weights to 1e-4, losses to a relative 1e-5: sums of floats in another order, the same batches."""
    tensors = [load_file(Path(job.output) / FILES[0]) for job in (one, other)]
    for name, tensor in tensors[0].items():
        np.testing.assert_allclose(tensors[1][name], tensor, atol=1e-4, err_msg=name)
    losses = [
        [entry["train_loss"] for entry in json.loads(path.read_text())["epochs"]]
        for path in (Path(job.output) / "history.json" for job in (one, other))
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_two_nodes_give_the_weights_of_two_ranks_on_one(  # type: ignore[no-untyped-def]
    make_job, start: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # The number of threads decides the order of sums; each agent would take all cores.
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    endpoint = free_endpoint()
    one_node, job = make_job(processes=2), make_job()
    finish(start(one_node))
    several = on(job, processes=1, nnodes="1:2", rdzv_endpoint=endpoint)
    pipes = PipesFiles(tmp_path)
    # Of two agents at one address the one with the lower process id has rank 0; Dagster listens to
    # the other.
    nodes = [start(several)]
    agent_of(nodes[0])
    nodes.append(start(several, **pipes.variables))
    assert [finish(node) for node in nodes] == [f"the model is in {several.output}\n", ""]
    assert "2 x cpu" in pipes.logged()[0]
    assert sum(text.startswith("epoch ") for text in pipes.logged()) == 3
    for name in FILES:
        assert (Path(one_node.output) / name).read_bytes() == (Path(job.output) / name).read_bytes()


@pytest.mark.skipif(not FULL, reason="PIPELINE_TEST_FULL=1")
def test_a_node_that_is_lost_leaves_the_others_to_go_on(long_job, start: Start) -> None:  # type: ignore[no-untyped-def]
    alone, job, endpoint = long_job(), long_job(), free_endpoint()
    finish(start(on(alone, processes=1)))
    several = on(job, processes=1, nnodes="1:2", rdzv_endpoint=endpoint, max_restarts=1)
    head = start(several)
    until_it_listens(endpoint)
    other = start(several)
    family, remaining = family_of(other, 1), family_of(head, 1)
    in_mid_epoch(job, random.Random(0))
    other.kill()
    other.communicate(timeout=60)
    assert all_gone(family)
    said, err = head.communicate(timeout=300)
    assert head.returncode == 0, err
    assert all_gone(remaining)
    assert said.index("2 x cpu") < said.index("1 x cpu") < said.index("resumed in epoch")
    assert_close(alone, job)
