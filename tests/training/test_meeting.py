"""Who trains together, and who hears of it: several nodes, played by several launchers of one machine."""

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from pipeline_assets.training.config import TrainingError
from pipeline_assets.training.meeting import Introduction, check_together, reporter_of
from tests.training.processes import (
    after_epochs,
    all_gone,
    family_of,
    free_endpoint,
    on,
    until_it_listens,
)

Start = Callable[..., subprocess.Popen[str]]
pytestmark = pytest.mark.timeout(200)


def test_one_machine_listens_on_the_loopback_address_only(make_job, start: Start) -> None:  # type: ignore[no-untyped-def]
    job = make_job(max_epochs=500, patience=500, rows=2000, processes=2)
    process = start(job)
    family = family_of(process, 2)
    after_epochs(job, 1)
    listening = {
        one.laddr.ip
        for member in family
        for one in member.net_connections("inet")
        if one.status == psutil.CONN_LISTEN
    }
    process.terminate()
    process.communicate(timeout=60)
    assert all_gone(family)
    assert listening == {"127.0.0.1"}


def test_other_jobs_at_an_endpoint_are_other_trainings(make_job, start: Start) -> None:  # type: ignore[no-untyped-def]
    settings = {"nnodes": "2", "rdzv_endpoint": free_endpoint(), "timeout_seconds": 4}
    nodes = [start(on(make_job(processes=1, seed=seed), **settings)) for seed in (1, 2)]
    for node in nodes:
        said, err = node.communicate(timeout=100)
        assert node.returncode == 1 and said == ""
        assert "training failed: 2 nodes did not meet" in err


def test_ranks_with_different_jobs_do_not_train(make_job) -> None:  # type: ignore[no-untyped-def]
    endpoint, jobs, nodes = free_endpoint(), [make_job(), make_job(seed=1)], []
    for job in jobs:
        path = Path(job.output).with_name("job.json")
        path.write_text(json.dumps(dataclasses.asdict(job)))
        command = ["torch.distributed.run", "--nnodes=2", f"--rdzv-endpoint={endpoint}"]
        command += ["--rdzv-backend=c10d", "--rdzv-id=the-same", "--local-addr=127.0.0.1"]
        command += ["--module", "pipeline_assets.training.worker", str(path)]
        environment = os.environ | {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
        nodes.append(subprocess.Popen([sys.executable, "-m", *command], env=environment))
    assert [node.wait(timeout=100) for node in nodes] == [1, 1]
    for job in jobs:
        said = (Path(job.output) / "error.txt").read_text()
        assert said.startswith("the ranks were given different jobs")
        assert all(f"job {one.digest()}: rank " in said for one in jobs)


def test_a_rendezvous_that_is_lost_during_the_training(make_job, start: Start) -> None:  # type: ignore[no-untyped-def]
    endpoint = free_endpoint()
    job = on(
        make_job(max_epochs=500, patience=500, rows=2000, processes=1, max_restarts=1),
        nnodes="2",
        rdzv_endpoint=endpoint,
    )
    head = start(job)
    until_it_listens(endpoint)
    other = start(job)
    family = family_of(head, 1) + family_of(other, 1)
    after_epochs(job, 1)
    head.kill()
    head.communicate(timeout=60)
    _, err = other.communicate(timeout=150)
    assert other.returncode == 1 and all_gone(family)
    assert f"training failed: the rendezvous at {endpoint} was lost during the training" in err


def rank(number: int, **more: object) -> Introduction:
    told = {"host": f"node-{number}", "job": "a", "gpus": 0, "processes": 1, "has_pipes": False}
    return Introduction(rank=number, **(told | more))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("everyone", "said"),
    [
        ([rank(0, gpus=1, processes=2)], "2 processes on node-0, which has 1 GPU"),
        (
            [rank(0, gpus=1), rank(1), rank(2, gpus=1)],
            r"no GPU \(rank 1 on node-1\) and others have one \(rank 0 on node-0, rank 2 on node-2\)",
        ),
        ([rank(0), rank(1, job="b")], r"\(job a: rank 0 on node-0; job b: rank 1 on node-1\)"),
    ],
)
def test_who_cannot_train_together(everyone: list[Introduction], said: str) -> None:
    with pytest.raises(TrainingError, match=said):
        check_together(everyone)


def test_who_can_train_together() -> None:
    check_together([rank(0), rank(1, processes=4)])
    check_together([rank(0, gpus=2, processes=2), rank(1, gpus=8, processes=4)])


def test_dagster_hears_the_lowest_rank_that_it_listens_to() -> None:
    assert reporter_of([rank(0), rank(1)]) == 0
    assert reporter_of([rank(0), rank(1, has_pipes=True), rank(2, has_pipes=True)]) == 1
