"""What the training loop tells of its parts while it runs, and what becomes of it: `profile.json`.

Communication is the time in which a rank has computed its gradients and its backward pass has not
returned: the part of the exchange that computing does not hide, waiting for slower ranks included, and
the small exchanges between steps. Sharded networks (FSDP2) also gather parameters within the forward and
the backward pass, where it cannot be told from computing; the trace shows it.

The shares are those of the whole training, or of what comes after a resume, without the few steps of the
trace, which the profiler makes slower. A step in which `torch.compile` makes a graph, as the first one does,
counts as `compile`, with the waiting for ranks that still do.
"""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.profiler import record_function

from pipeline_assets.training.collectives import gather_rows, wait_for_all
from pipeline_assets.training.config import TrainingConfig
from pipeline_assets.training.device_batches import DeviceBatch
from pipeline_assets.training.files import json_bytes, write_result
from pipeline_assets.training.parallelize import Ranks, is_sharded
from pipeline_assets.training.profile.clock import HostClock, clock_of
from pipeline_assets.training.profile.findings import (
    PARTS,
    PROFILE_FILE,
    Part,
    mean_shares,
    sentence,
    shares,
    step_spread,
)
from pipeline_assets.training.profile.trace import StepTrace

_NOTHING: AbstractContextManager[None] = nullcontext()


class NoProfile:
    """Measures nothing."""

    def begin(self) -> None:
        """The training begins."""

    def span(self, part: Part) -> AbstractContextManager[None]:
        """Context of a part of the training; they are not nested."""
        return _NOTHING

    def epoch(self, number: int, batches: int) -> AbstractContextManager[None]:
        """Context of an epoch (from 1) in which so many batches are left, with its validation."""
        return _NOTHING

    def batches(self, batches: Iterator[DeviceBatch]) -> Iterator[DeviceBatch]:
        """The batches of an epoch; each is asked for when the step before it is done."""
        return batches

    def finish(self) -> str | None:
        """The training has ended; a collective. Return a sentence for the log on the leading rank."""
        return None


class StepProfile(NoProfile):
    """Measures the parts of a training on one rank; changes nothing of what is computed.

    Args:
        output: folder for `profile.json` and one trace per rank; ranks on several nodes share it.
        config: of the training.
        network: as it is trained.
        ranks: all of them measure.
    """

    def __init__(
        self, output: Path, config: TrainingConfig, network: nn.Module, ranks: Ranks
    ) -> None:
        self._output = output
        self._ranks = ranks
        self._is_sharded = is_sharded(config, ranks)
        self._traced_epoch = min(2, config.max_epochs)
        self._clock: HostClock = clock_of(ranks.device)
        self._spans = {part: _Span(self, part) for part in PARTS}
        self._trace: StepTrace | None = None
        self._traced: dict[str, Any] | None = None
        self._gradients_at: Any = None
        self._compiles = config.compile
        self._graphs = self._compiled_graphs()
        self._steps = 0
        self._epochs: list[dict[str, Any]] = []
        self._began = self._window_began = time.perf_counter()
        self._left_out = 0.0
        if ranks.world_size > 1 and not self._is_sharded:
            for parameter in network.parameters():
                parameter.register_post_accumulate_grad_hook(self._note_gradient)

    def begin(self) -> None:
        """The training begins."""
        self._began = time.perf_counter()

    def span(self, part: Part) -> AbstractContextManager[None]:
        """Context of a part of the training; they are not nested."""
        return self._spans[part]

    @property
    def in_trace(self) -> bool:
        """Whether the profiler records, and the shares leave out what happens."""
        return self._trace is not None and self._trace.running

    @contextmanager
    def epoch(self, number: int, batches: int) -> Iterator[None]:
        """Context of an epoch; at its end all ranks compare their steps."""
        before = self._counts()
        if self._traced is None and number >= self._traced_epoch:
            path = self._output / trace_file(self._ranks.rank)
            self._trace = StepTrace(path, number, batches, self._ranks.device)
            self._window_began = time.perf_counter()
            self._trace.start()
        try:
            yield
        finally:
            if self._trace is not None:
                self._trace.stop()
                self._trace = None
        after = self._counts()
        own = [[after[key] - before[key] for key in after]]
        ranks = [dict(zip(after, row)) for row in self._gathered(own)]
        self._epochs.append({"epoch": number, **self._spread(ranks)})

    def batches(self, batches: Iterator[DeviceBatch]) -> Iterator[DeviceBatch]:
        """The batches, with the time that waiting for each takes."""
        while True:
            with self.span("data"):
                batch = next(batches, None)
            if batch is None:
                return
            yield batch
            self._step_done()

    def finish(self) -> str | None:
        """Write `profile.json` on the leading rank; return a sentence on all. A collective."""
        counts = self._counts()
        total = time.perf_counter() - self._began - self._left_out
        rows = self._gathered([[*counts.values(), total]])
        ranks = [dict(zip(counts, row)) for row in rows]
        by_rank = [shares({p: own[p] for p in PARTS}, row[-1]) for own, row in zip(ranks, rows)]
        content: dict[str, Any] = {
            "ranks": self._ranks.world_size,
            "device": self._ranks.device.type,
            # Own time and communication cannot be told from each other within a sharded step.
            "separable": not self._is_sharded,
            "seconds": max(row[-1] for row in rows),
            "steps": int(ranks[0]["steps"]),
            "shares": mean_shares(by_rank),
            "shares_by_rank": by_rank,
            **self._spread(ranks),
            "epochs": self._epochs,
            "traced": self._traced,
            "traces": [trace_file(rank) for rank in range(self._ranks.world_size)]
            if self._traced
            else [],
        }
        if self._ranks.leads:
            write_result(self._output / PROFILE_FILE, json_bytes(content))
        return sentence(content)

    def enter(self, part: Part) -> Any:
        """Begin a part; return what `leave` wants."""
        if self.in_trace:
            recorded = record_function(part)
            recorded.__enter__()
            return recorded
        self._gradients_at = None
        return self._clock.mark()

    def leave(self, part: Part, begun: Any) -> None:
        """End a part."""
        if isinstance(begun, record_function):
            begun.__exit__(None, None, None)
            return
        end = self._clock.mark()
        computed = self._gradients_at
        if self._compiled_graphs() != self._graphs:
            self._clock.add("compile", begun, end)
        elif part == "backward" and computed is not None:
            self._clock.add("backward", begun, computed)
            self._clock.add("communication", computed, end)
        else:
            self._clock.add(part, begun, end)

    def _compiled_graphs(self) -> int:
        """Graphs that `torch.compile` has made in this process."""
        if not self._compiles:
            return 0
        from torch._dynamo.utils import counters

        return counters["stats"]["unique_graphs"]

    def _note_gradient(self, parameter: Tensor) -> None:
        # The last one of a pass counts. DDP sends a bucket right after the last gradient in it.
        if not self.in_trace:
            self._gradients_at = self._clock.mark()

    def _step_done(self) -> None:
        was_running = self.in_trace
        graphs = self._compiled_graphs()
        if not was_running:
            self._steps += graphs == self._graphs
            self._window_began = time.perf_counter()
        self._graphs = graphs
        if self._trace is None:
            return
        self._trace.step()
        if was_running and not self._trace.running:
            self._trace.stop()
            self._traced = self._trace.summary()
            self._trace = None
            # Otherwise the first to have written its file would seem to wait for others in the next step.
            wait_for_all(self._ranks)
            self._left_out += time.perf_counter() - self._window_began

    def _counts(self) -> dict[str, float]:
        return {"steps": float(self._steps), **self._clock.seconds()}

    def _gathered(self, own: list[list[float]]) -> list[list[float]]:
        """This rank's row, and those of the others, in their order."""
        values = torch.tensor(own, dtype=torch.float64, device=self._ranks.device)
        return gather_rows(values, self._ranks).tolist()

    def _spread(self, ranks: list[dict[str, float]]) -> dict[str, Any]:
        return step_spread(ranks, separable=not self._is_sharded)


class _Span(AbstractContextManager[None]):
    """A part, as a context that is entered again and again."""

    def __init__(self, owner: StepProfile, part: Part) -> None:
        self._owner = owner
        self._part: Part = part
        self._begun: Any = None

    def __enter__(self) -> None:
        self._begun = self._owner.enter(self._part)

    def __exit__(self, *error: object) -> None:
        self._owner.leave(self._part, self._begun)


def trace_file(rank: int) -> str:
    """Name of a rank's trace in the output folder."""
    return f"trace-rank-{rank}.json.gz"


def profile_of(output: Path, config: TrainingConfig, network: nn.Module, ranks: Ranks) -> NoProfile:
    """The profile that the config asks for; arguments as of `StepProfile`."""
    return StepProfile(output, config, network, ranks) if config.profile else NoProfile()
