"""One trial, in a Ray worker: the project's own trainer on one rank, which reports after each epoch.

A worker serves many trials, one after another, so torch is imported once in each. The shards are mapped
into memory: all trials of a machine share one copy of them, in the page cache.
"""

import dataclasses
import os
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from ray import tune

from pipeline_assets.training.config import Monitor, TrainingError, TrainingJob
from pipeline_assets.training.determinism import set_deterministic
from pipeline_assets.training.heartbeat import Heartbeat
from pipeline_assets.training.parallelize import join_ranks
from pipeline_assets.training.progress import Progress
from pipeline_assets.training.trainer import Trainer
from pipeline_assets.tuning.settings import decoded, with_settings

SCORE, BEST, FAILED = "score", "best", "failed"
"""What a trial reports: the epoch's validation score, the best so far, and why it failed."""


class Reports(Progress):
    """Silent, except to Ray Tune, which may end the training by not returning from a report."""

    def __init__(self, output: Path, *, max_epochs: int, monitor: Monitor) -> None:
        super().__init__(output, max_epochs=max_epochs, monitor=monitor, writes=False)
        self._score = f"validation_{monitor}"

    def end_epoch(self, history: list[dict[str, Any]]) -> None:
        """Report the last epoch's score and the best one."""
        kept = next(entry for entry in history if entry["best"])
        tune.report({SCORE: history[-1][self._score], BEST: kept[self._score]})


def run_trial(
    config: Mapping[str, Any],
    *,
    job: Mapping[str, Any],
    choices: Collection[str],
    cpus: float,
    gpus: float,
) -> None:
    """Train with the settings that Ray Tune proposes; end when the training ends or Ray Tune says so.

    Args:
        config: Optuna's parameters.
        job: the training job with the settings as declared, in its JSON form.
        choices: parameters that are JSON texts.
        cpus: cores for it; as many threads, one at least.
        gpus: GPUs for it.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if gpus == 0:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    proposed = with_settings(TrainingJob.from_dict(job), decoded(config, choices))
    torch.set_num_threads(max(1, int(cpus)))
    set_deterministic(proposed.training.deterministic)
    # Ray's working directory of the trial lies in its temporary folder.
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        proposed = dataclasses.replace(
            proposed,
            output=f"{folder}/model",
            checkpoints=f"{folder}/checkpoints",
            # The study has verified them, and a trial that is interrupted begins anew.
            verify_shards=False,
            training=dataclasses.replace(
                proposed.training, checkpoint_epochs=proposed.training.max_epochs
            ),
        )
        Path(proposed.output).mkdir()
        reports = Reports(
            Path(proposed.output),
            max_epochs=proposed.training.max_epochs,
            monitor=proposed.training.monitor,
        )
        try:
            Trainer(proposed, join_ranks(), reports, Heartbeat()).run()
        except torch.AcceleratorError:
            # The device is lost to this process: Ray tries the trial again in another one.
            raise
        except (TrainingError, RuntimeError) as error:
            # Settings that do not work are a result; the worker lives on for the next trial.
            tune.report({FAILED: f"{error}"})
