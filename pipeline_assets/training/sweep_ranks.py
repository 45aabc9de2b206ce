"""One rank of a sweep, started by `sweep`: real training steps, a few seconds for each candidate.

The leading rank writes a line of JSON to its standard output for each result.
"""

import dataclasses
import json
import math
import os
import sys
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import torch

from pipeline_assets.shards.index import ShardError
from pipeline_assets.shards.reader import Batch, ShardReader
from pipeline_assets.training.collectives import gather_rows, most_of_ranks, wait_for_all
from pipeline_assets.training.config import Precision, TrainingError, TrainingJob
from pipeline_assets.training.determinism import set_deterministic
from pipeline_assets.training.device_batches import device_batches
from pipeline_assets.training.losses import RowLosses
from pipeline_assets.training.model import BATCH_ROWS, build_network
from pipeline_assets.training.not_finite import NotFinite
from pipeline_assets.training.parallelize import Ranks, join_ranks, on_device
from pipeline_assets.training.precision import set_precision
from pipeline_assets.training.preconditions import (
    check_network,
    check_trainable,
    positive_weight,
)
from pipeline_assets.training.processes import OUT_OF_MEMORY, SWEEP_PID, die_with_parent
from pipeline_assets.training.profile.recorder import NoProfile
from pipeline_assets.training.step import TrainingStep
from pipeline_assets.training.tasks import target_scale

_WARM_UP = 3
_PROBE = 5
"""Steps by which the number of those that are measured is chosen."""


class Candidate:
    """A training of one setting from its initial weights on; nothing of it is kept.

    Args:
        job: with the setting.
        ranks: all of them take each step.

    Raises:
        TrainingError: the setting is not for this machine.
    """

    def __init__(self, job: TrainingJob, ranks: Ranks) -> None:
        self._job, self._ranks = job, ranks
        set_precision(job.training.precision, ranks.device)
        train = ShardReader(job.shards, "train")
        check_trainable(job, train.index)
        torch.manual_seed(job.seed)
        network = build_network(job.model)
        check_network(network)
        network = on_device(network, ranks, job.training)
        self._losses = RowLosses(
            job.model,
            job.training,
            positive_weight=positive_weight(job, train),
            target=target_scale(job.model, train),
        ).to(ranks.device)
        self._step = TrainingStep(job, ranks, network, self._losses, NoProfile())
        self._batches = device_batches(self._endless(train), ranks.device)
        self._done = 0
        self._step.parallel.train()

    def _endless(self, train: ShardReader) -> Iterator[Batch]:
        for epoch in count():
            yield from train.batches(
                self._job.training.batch_size,
                seed=self._job.seed,
                epoch=epoch,
                rank=self._ranks.rank,
                world_size=self._ranks.world_size,
            )

    def run(self, steps: int) -> tuple[float, float, float]:
        """Take steps; return rows/s of all ranks, seconds of the slowest, share of waiting for data.

        Raises:
            NotFinite: on all ranks.
        """
        rows, waited = 0, 0.0
        wait_for_all(self._ranks)
        started = time.perf_counter()
        for _ in range(steps):
            asked = time.perf_counter()
            batch = next(self._batches)
            waited += time.perf_counter() - asked
            self._step.update(
                batch, epoch=1, step=self._done, rate=self._job.training.learning_rate
            )
            self._done += 1
            rows += batch.global_rows
        self._step.settle()
        if self._ranks.device.type == "cuda":
            torch.cuda.synchronize(self._ranks.device)
        own = [[time.perf_counter() - started, waited]]
        times = torch.tensor(own, dtype=torch.float64, device=self._ranks.device)
        seconds, waits = gather_rows(times, self._ranks).max(dim=0).values.tolist()
        return rows / seconds, seconds, waits / seconds

    def steps_for(self, seconds: float) -> int:
        """Warm up, and return how many steps fill the time, the same on all ranks."""
        self.run(_WARM_UP)
        _, taken, _ = self.run(_PROBE)
        return most_of_ranks(max(_PROBE, math.ceil(_PROBE * seconds / taken)), self._ranks)

    @torch.no_grad()
    def validation_loss(self) -> float:
        """Mean loss of the first validation rows."""
        self._step.parallel.train(False)
        rows = next(ShardReader(self._job.shards, "validation").iter_blocks(BATCH_ROWS))
        numeric, categorical, label = (
            torch.tensor(column, device=self._ranks.device)
            for column in (rows.numeric, rows.categorical, rows.label)
        )
        output = self._step.parallel.forward(numeric, categorical, full=False)
        return float(self._losses(output, label).mean())

    def close(self) -> None:
        """End the thread that reads."""
        close = getattr(self._batches, "close", None)
        if close is not None:
            close()


def batch_size_results(
    job: TrainingJob, ranks: Ranks, batch_sizes: list[int], seconds: float
) -> Iterator[dict[str, Any]]:
    """Measure each batch size."""
    for batch_size in batch_sizes:
        candidate = Candidate(_with(job, batch_size=batch_size), ranks)
        rate, _, waiting = candidate.run(candidate.steps_for(seconds))
        candidate.close()
        yield {"candidate": batch_size, "rows_per_second": rate, "waiting": waiting}


def precision_results(
    job: TrainingJob,
    ranks: Ranks,
    precisions: list[Precision],
    seconds: float,
    steps: int | None = None,
) -> Iterator[dict[str, Any]]:
    """Measure each precision over the same steps from the same weights, the first one chooses how many."""
    for precision in precisions:
        reason = not_available(precision, ranks)
        if reason is not None:
            yield {"candidate": precision, "reason": reason}
            continue
        if steps is None:
            first = Candidate(_with(job, precision=precision), ranks)
            steps = _WARM_UP + first.steps_for(seconds)
            first.close()
        candidate = Candidate(_with(job, precision=precision), ranks)
        try:
            candidate.run(_WARM_UP)
            rate, _, _ = candidate.run(steps - _WARM_UP)
        except NotFinite as fault:
            yield {"candidate": precision, "reason": str(fault)}
            continue
        finally:
            candidate.close()
        yield {
            "candidate": precision,
            "rows_per_second": rate,
            "steps": steps,
            "loss": candidate.validation_loss(),
        }


def not_available(precision: Precision, ranks: Ranks) -> str | None:
    """Why this machine has no such precision, or None where it has."""
    if ranks.device.type == "cuda":
        name = torch.cuda.get_device_name(ranks.device)
        if precision == "tf32" and torch.cuda.get_device_capability(ranks.device) < (8, 0):
            return f"{name} is older than TF32 (compute capability 8.0)"
        if precision == "bfloat16" and not torch.cuda.is_bf16_supported(including_emulation=False):
            return f"{name} has no bfloat16"
        return None
    return {
        "tf32": "a mode of GPUs, and training runs on CPUs here",
        "float16": "needs a GPU, and training runs on CPUs here",
    }.get(precision)


def _with(job: TrainingJob, **settings: Any) -> TrainingJob:
    return dataclasses.replace(job, training=dataclasses.replace(job.training, **settings))


def main(path: str) -> int:
    """Measure what the plan says; return the exit status."""
    # Torch has been imported meanwhile: the sweep may be gone already.
    die_with_parent(parent=int(os.environ[SWEEP_PID]))
    plan = json.loads(Path(path).read_text(encoding="utf-8"))
    job, candidates, seconds = (
        TrainingJob.from_dict(plan["job"]),
        plan["candidates"],
        plan["seconds"],
    )
    set_deterministic(job.training.deterministic)
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    try:
        ranks = join_ranks()
    except TrainingError as error:  # the same on all
        if os.environ["RANK"] == "0":
            _write({"error": str(error)})
        return 1
    if plan["what"] == "precision":
        results = precision_results(job, ranks, candidates, seconds, plan["steps"])
    else:
        results = batch_size_results(job, ranks, candidates, seconds)
    try:
        for result in results:
            _tell(result, ranks)
            # Whoever fails in the next candidate does so after this one is told.
            wait_for_all(ranks)
    except (TrainingError, ShardError, NotFinite) as error:
        _tell({"error": str(error)}, ranks)
        if not ranks.leads:
            # Perhaps the only one that sees it.
            sys.stderr.write(f"rank {ranks.rank}: {error}\n")
        return 1
    except (RuntimeError, MemoryError) as error:
        if not _is_out_of_memory(error):
            raise
        # By exit status: the other ranks wait in the middle of a step, and no collective reaches them.
        return OUT_OF_MEMORY
    return 0


def _is_out_of_memory(error: RuntimeError | MemoryError) -> bool:
    """Of torch's allocator on a GPU, of those that libraries call there themselves, or on a CPU."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    signs = ("out of memory", "ALLOC_FAILED", "can't allocate memory")
    return any(sign in str(error) for sign in signs)


def _tell(result: dict[str, Any], ranks: Ranks) -> None:
    if ranks.leads:
        _write(result)


def _write(result: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(result) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    code = 1
    try:
        code = main(sys.argv[1])
    finally:
        error = sys.exception()
        if error is not None:
            sys.excepthook(type(error), error, error.__traceback__)
        sys.stderr.flush()
        os._exit(code)  # as in `worker`: a process group of gloo may hang while it is torn down
