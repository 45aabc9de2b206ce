"""Trains jobs one after another in one process group: `torch.distributed.run … rank_cases.py jobs.json`.

`jobs.json` is a list of `{job, stop_after}`: with `stop_after` a training ends like a killed one when so
many epochs are done, and its job comes again later in the list.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch

from pipeline_assets.training.config import TrainingJob
from pipeline_assets.training.heartbeat import Heartbeat
from pipeline_assets.training.parallelize import join_ranks, wait_for_all
from pipeline_assets.training.progress import Progress
from pipeline_assets.training.trainer import Trainer


class Stopped(Exception):
    """Training was ended on purpose."""


class StoppingProgress(Progress):
    """Ends the training on all ranks after some epochs, before their checkpoint."""

    stop_after: int | None = None

    def end_epoch(self, history: list[dict[str, Any]]) -> None:
        super().end_epoch(history)
        if len(history) == self.stop_after:
            raise Stopped


def main(path: str) -> None:
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    ranks = join_ranks()
    for case in json.loads(Path(path).read_text()):
        job = TrainingJob.from_dict(case["job"])
        output = Path(job.output)
        output.mkdir(parents=True, exist_ok=True)
        wait_for_all(ranks)
        with StoppingProgress(
            output,
            max_epochs=job.training.max_epochs,
            monitor=job.training.monitor,
            active=ranks.leads,
        ) as progress:
            progress.stop_after = case["stop_after"]
            try:
                Trainer(job, ranks, progress, Heartbeat()).run()
            except Stopped:
                continue


if __name__ == "__main__":
    main(sys.argv[1])
    sys.stdout.flush()
    os._exit(0)  # as in `worker`: a process group of gloo may hang while it is torn down
