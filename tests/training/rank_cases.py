"""Trains jobs one after another in one process group: `torch.distributed.run … rank_cases.py jobs.json`.

First of all it checks, without jobs, that an overflow on one rank is seen by all.

`jobs.json` is a list of `{job, stop_after, fails}`: with `stop_after` a training ends like a killed one when
so many epochs are done, and its job comes again later in the list; with `fails` it ends on all ranks by an
error that has this text in it.
"""

import json
import math
import os
import sys
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from pipeline_assets.training.collectives import gather_on_leader, wait_for_all
from pipeline_assets.training.config import TrainingConfig, TrainingError, TrainingJob
from pipeline_assets.training.heartbeat import Heartbeat
from pipeline_assets.training.parallelize import (
    ParallelNetwork,
    Ranks,
    clip_gradients,
    join_ranks,
    placed_like,
    whole,
)
from pipeline_assets.training.precision import MixedPrecision
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


class Line(torch.nn.Module):
    """A network of one weight and a bias, [n, 1] -> [n, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def forward(self, numeric: Tensor, categorical: Tensor) -> Tensor:
        return self.layer(numeric)


def check_overflow(ranks: Ranks, parallelism: Literal["ddp", "fsdp"]) -> None:
    """Gradients that are infinite on the last rank only: no rank updates, all halve the scale."""
    network = Line()
    parallel = ParallelNetwork(network, ranks, TrainingConfig(parallelism=parallelism))
    optimizer = torch.optim.AdamW(network.parameters(), fused=True)
    precision = MixedPrecision("float16", ranks.device)

    def step(value: float) -> Tensor:
        row = torch.full((1, 1), value)
        optimizer.zero_grad()
        precision.backward(parallel.forward(row, row, full=True).sum())
        precision.unscale(optimizer)
        norm = clip_gradients(network, 1.0)
        precision.step(optimizer)
        return norm

    before = [whole(parameter).clone() for parameter in network.parameters()]
    overflows = ranks.rank == ranks.world_size - 1
    assert not torch.isfinite(step(math.inf if overflows else 1.0))
    after = [whole(parameter) for parameter in network.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(before, after))
    assert precision.state()["scale"] == 32768
    # What is clipped is the gradient itself: one for the weight, one for the bias.
    assert math.isclose(step(1.0).item(), math.sqrt(2), rel_tol=1e-6)
    assert not any(torch.equal(a, whole(b)) for a, b in zip(before, network.parameters()))


def check_parts(ranks: Ranks) -> None:
    """A whole tensor is put where a sharded one lies: each rank gets its rows, and memory for no more."""
    torch.manual_seed(0)
    network = torch.nn.Linear(3, 5, bias=False)  # three rows and two
    value = network.weight.detach().clone()
    ParallelNetwork(network, ranks, TrainingConfig(parallelism="fsdp"))
    placed: Any = placed_like(value, network.weight)
    assert torch.equal(whole(placed), value) and torch.equal(whole(network.weight.detach()), value)
    part = placed.to_local()
    assert part.untyped_storage().nbytes() == 4 * 3 * (3, 2)[ranks.rank]


def check_gather(ranks: Ranks) -> None:
    """Parts of different length, sent in pieces: whole and in order on the leading rank, nothing on others."""
    lengths = (7, 23, 0, 11)[: ranks.world_size]
    expected = np.arange(3 * sum(lengths), dtype=np.float32).reshape(-1, 3)
    start = sum(lengths[: ranks.rank])
    own = expected[start : start + lengths[ranks.rank]]
    found = gather_on_leader(own, ranks, piece_bytes=5 * expected[0].nbytes)
    assert (found is None) == (not ranks.leads)
    assert found is None or np.array_equal(found, expected)


def main(path: str) -> None:
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    # Graphs as for real, without the C++ compiler's half minute.
    torch.compile = partial(torch.compile, backend="aot_eager")
    ranks = join_ranks()
    check_overflow(ranks, "ddp")
    check_overflow(ranks, "fsdp")
    check_parts(ranks)
    check_gather(ranks)
    for case in json.loads(Path(path).read_text()):
        job = TrainingJob.from_dict(case["job"])
        output = Path(job.output)
        output.mkdir(parents=True, exist_ok=True)
        wait_for_all(ranks)
        with StoppingProgress(
            output,
            max_epochs=job.training.max_epochs,
            monitor=job.training.monitor,
            writes=ranks.leads,
        ) as progress:
            progress.stop_after = case["stop_after"]
            try:
                Trainer(job, ranks, progress, Heartbeat()).run()
            except Stopped:
                continue
            except TrainingError as error:
                assert case["fails"] and case["fails"] in str(error), error
                continue
            assert not case["fails"], case["fails"]


if __name__ == "__main__":
    main(sys.argv[1])
    sys.stdout.flush()
    os._exit(0)  # as in `worker`: a process group of gloo may hang while it is torn down
