"""Ranks in the executors of local Apache Spark: one is killed, and the next attempt goes on."""

import dataclasses
import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from safetensors.numpy import load_file

from pipeline_assets.orchestration.training_on_spark import launch_on_spark
from pipeline_assets.training.checkpoint import POINTER
from pipeline_assets.training.config import LaunchConfig, TrainingError, TrainingJob
from pipeline_assets.training.worker import train

pytestmark = [
    pytest.mark.spark, pytest.mark.heavy, pytest.mark.usefixtures("one_thread"),
]  # fmt: skip


def on_executors(job: TrainingJob, **launch: Any) -> tuple[TrainingJob, Path]:
    placed = LaunchConfig(launcher="spark", processes=2, **launch)
    job = dataclasses.replace(job, launch=placed)
    path = Path(job.output).with_name("job.json")
    path.write_text(json.dumps(job.to_dict()))
    return job, path


def kill_a_rank_in_mid_epoch(job: TrainingJob, path: Path) -> None:
    pointer, deadline = Path(job.checkpoints) / POINTER, time.monotonic() + 100
    while time.monotonic() < deadline:
        if pointer.exists() and "-batch-" in pointer.read_text():
            ranks = [
                process
                for process in psutil.process_iter(["cmdline"])
                if (process.info["cmdline"] or [])[-2:]
                == ["pipeline_assets.training.worker", str(path)]
                and process.info["cmdline"][1] == "-u"
            ]
            assert len(ranks) == 2
            return ranks[1].kill()
        time.sleep(0.01)


def test_a_killed_rank_costs_an_attempt_and_changes_nothing(  # type: ignore[no-untyped-def]
    apache_spark, make_job
) -> None:
    settings = {"max_epochs": 3, "rows": 6000}
    alone = make_job(**settings)
    train(alone)
    job, path = on_executors(make_job(**settings, checkpoint_seconds=0), max_restarts=1)
    said: list[str] = []
    killer = threading.Thread(target=kill_a_rank_in_mid_epoch, args=(job, path))
    killer.start()
    launch_on_spark(apache_spark, job, path, said.append)
    killer.join()
    assert said == ["the processes ended without a model; restart 1 of 1"]
    tensors = [load_file(Path(one.output) / "model.safetensors") for one in (alone, job)]
    for name, tensor in tensors[0].items():
        np.testing.assert_allclose(tensors[1][name], tensor, atol=1e-4, err_msg=name)


@pytest.mark.skipif(os.environ.get("PIPELINE_TEST_FULL") != "1", reason="PIPELINE_TEST_FULL=1")
def test_a_reason_ends_all_attempts(apache_spark, make_job) -> None:  # type: ignore[no-untyped-def]
    job, path = on_executors(make_job(label=1.0), max_restarts=3)
    said: list[str] = []
    with pytest.raises(TrainingError, match="all 403 rows of the train split are positive"):
        launch_on_spark(apache_spark, job, path, said.append)
    assert said == []
