"""Two real ranks: replicated, sharded, accumulated and in other number formats, the same model comes out."""

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from pipeline_assets.shards import ShardReader
from pipeline_assets.training.config import TrainingConfig, TrainingError, TrainingJob
from pipeline_assets.training.parallelize import SHARDED_ALONE, Ranks, check_parallelism, on_device
from pipeline_assets.training.preconditions import micro_batch_notes
from pipeline_assets.training.worker import train

RESNET = "pipeline_assets.training.models.resnet:build"
TABM = "pipeline_assets.training.models.tabm:build"
FULL = os.environ.get("PIPELINE_TEST_FULL") == "1"
TOLERANCE = 2e-6
"""Of weights between ways of summing the same gradients, in float32."""


def train_on_two_ranks(
    folder: Path,
    cases: list[tuple[TrainingJob, int | None]],
    failing: list[tuple[TrainingJob, str]],
) -> str:
    """Train the jobs in order, those that fail last; return what they said."""
    listed = [{"job": job.to_dict(), "stop_after": stop, "fails": None} for job, stop in cases]
    listed += [{"job": job.to_dict(), "stop_after": None, "fails": text} for job, text in failing]
    (folder / "jobs.json").write_text(json.dumps(listed))
    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"),
            *(str(Path(__file__).with_name("rank_cases.py")), str(folder / "jobs.json")),
        ],
        capture_output=True,
        text=True,
        timeout=90,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def weights(job: TrainingJob) -> dict[str, np.ndarray]:
    return load_file(Path(job.output) / "model.safetensors")


def distance(a: TrainingJob, b: TrainingJob) -> float:
    first, second = weights(a), weights(b)
    assert first.keys() == second.keys()
    return max(float(np.abs(first[k] - second[k]).max()) for k in first if first[k].size)


@pytest.mark.heavy
@pytest.mark.usefixtures("one_thread")
def test_ways_over_ranks_give_the_same_weights(  # type: ignore[no-untyped-def]
    make_job: Callable[..., TrainingJob], tmp_path: Path
) -> None:
    # 401 rows in batches of 100: the last holds one row, and one rank has none of it.
    def job(**settings: Any) -> TrainingJob:
        return make_job(**{"rows": 401, "batch_size": 100, "max_epochs": 2, **settings})

    ways = {
        "ddp": {},
        "ddp options": {
            "ddp_static_graph": True,
            "ddp_bucket_cap_mb": 1.0,
            "ddp_gradient_as_bucket_view": False,
        },
        "ddp in parts": {"gradient_accumulation": 3},
        "fsdp": {"parallelism": "fsdp"},
        "fsdp in parts": {"parallelism": "fsdp", "gradient_accumulation": 3},
    }
    models = {
        "mlp": {},
        "resnet": {"factory": RESNET, "options": {"width": 32, "numeric_embedding": "periodic"}},
        "tabm": {"factory": TABM, "options": {"members": 2, "hidden": [16]}},
    }
    jobs = {
        (m, w): job(**models[m], **ways[w])
        for m in models
        for w in ways
        if FULL or m == "mlp" or w in ("ddp", "fsdp")
    }
    # One layer that is gathered by itself.
    large = {"options": {"hidden": [1024, SHARDED_ALONE // 1024]}, "max_epochs": 1}
    for way in ("ddp", "fsdp"):
        jobs["large", way] = job(**large, **ways[way])
    jobs["mlp", "ddp compiled"] = job(compile=True)
    for way in ("ddp", "fsdp"):
        jobs["half", way] = job(precision="bfloat16", **ways[way])
    stopped = job(**models["tabm"], **ways["fsdp"])
    moved = dataclasses.replace(
        stopped,
        output=stopped.output + "-moved",
        checkpoints=stopped.checkpoints + "-moved",
    )
    cases: list[tuple[TrainingJob, int | None]] = [(one, None) for one in jobs.values()]
    cases += [(stopped, 2), (moved, 2), (stopped, None)]  # the second epoch has no checkpoint
    rows = ShardReader(jobs["mlp", "ddp"].shards, "train").arrays()
    last, largest = np.argsort(rows.numeric[:, 0])[-2:]
    # The ranks' own folder is on their path.
    infinite = {
        "factory": "factories:infinite_row",
        "options": {"above": float(rows.numeric[last, 0]), "hide": False},
    }
    failing = [
        (job(**infinite, **ways[way]), f"worst rows: row_id {rows.row_id[largest]} (loss ")
        for way in ("ddp", "fsdp in parts")
    ]
    said = train_on_two_ranks(tmp_path, cases, failing)

    for (model, way), one in jobs.items():
        if model != "half":
            assert distance(jobs[model, "ddp"], one) < TOLERANCE, (model, way)
    for model in models:
        assert distance(jobs[model, "ddp"], job_on_one_rank(jobs[model, "ddp"])) < TOLERANCE
    assert distance(jobs["half", "ddp"], jobs["half", "fsdp"]) < 2e-3
    assert distance(jobs["half", "ddp"], jobs["mlp", "ddp"]) > TOLERANCE, "nothing was in bfloat16"
    # A sharded training continues with the same bits on as many ranks, and on one rank.
    assert said.count("resumed after epoch 1") == 1
    assert distance(stopped, jobs["tabm", "fsdp"]) == 0
    train(moved)
    assert distance(moved, jobs["tabm", "fsdp"]) < TOLERANCE


def job_on_one_rank(job: TrainingJob) -> TrainingJob:
    alone = dataclasses.replace(
        job, output=job.output + "-alone", checkpoints=job.checkpoints + "-alone"
    )
    train(alone)
    return alone


def test_a_static_graph_does_not_accumulate() -> None:
    with pytest.raises(TrainingError, match="do not go together"):
        check_parallelism(TrainingConfig(ddp_static_graph=True, gradient_accumulation=2))


def test_micro_batches_have_rows() -> None:
    with pytest.raises(TrainingError, match=r"1000 is above training\.batch_size 256"):
        check_parallelism(TrainingConfig(batch_size=256, gradient_accumulation=1000))
    few = TrainingConfig(batch_size=256, gradient_accumulation=100)
    (note,) = micro_batch_notes(few, world_size=2)
    assert "micro-batches of 1.28 rows on each of 2 ranks: training will be slow" in note
    assert not micro_batch_notes(dataclasses.replace(few, gradient_accumulation=8), world_size=2)
    assert not micro_batch_notes(TrainingConfig(batch_size=4), world_size=2)


def test_a_network_that_is_sharded_is_never_whole_on_a_device() -> None:
    ranks = Ranks(rank=0, world_size=2, device=torch.device("meta"))
    for parallelism, device in (("ddp", "meta"), ("fsdp", "cpu")):
        network = on_device(torch.nn.Linear(2, 2), ranks, TrainingConfig(parallelism=parallelism))
        assert {parameter.device.type for parameter in network.parameters()} == {device}
