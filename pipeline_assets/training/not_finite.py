"""A loss or gradient that is NaN or infinite: which batch, which rows."""

import math
from collections import deque
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline_assets.training.collectives import gather_rows, sum_over_ranks
from pipeline_assets.training.device_batches import DeviceBatch
from pipeline_assets.training.parallelize import Ranks

_ROWS = 5


class NotFinite(Exception):
    """Raised on all ranks after the same step.

    Attributes:
        epoch: from 1.
        batch: number of the global batch in its epoch, from 0.
        row_ids: of the rows with the worst losses, worst first.
    """

    def __init__(
        self, *, epoch: int, batch: int, rows: int, worst: list[tuple[int, float]]
    ) -> None:
        self.epoch, self.batch = epoch, batch
        self.row_ids = [row_id for row_id, _ in worst]
        named = ", ".join(f"row_id {row_id} (loss {loss:.3g})" for row_id, loss in worst)
        super().__init__(
            f"loss or gradient is NaN or infinite in epoch {epoch}, batch {batch} ({rows} rows); "
            f"worst rows: {named}"
        )


def steps_unseen(device: torch.device) -> int:
    """Steps whose outcome the host does not wait for: it would leave a GPU without work."""
    return 1 if device.type == "cuda" else 0


@dataclass(frozen=True, kw_only=True, eq=False)
class _Step:
    batch: DeviceBatch
    epoch: int
    losses: Tensor
    outcome: Tensor
    """On the host, once it is copied: norm, and loss scale if there is one, f32 [1 or 2]."""
    copied: torch.cuda.Event | None


class FiniteChecks:
    """Sees to it that no training goes on from a step whose losses or gradients were not finite.

    Where steps are looked at later than they are taken, weights may have been spoilt meanwhile: settle
    before they are used for anything but the next step.

    Args:
        ranks: all of them check each step.
    """

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks
        self._unseen = steps_unseen(ranks.device)
        self._steps: deque[_Step] = deque()

    def add(
        self, batch: DeviceBatch, epoch: int, losses: Tensor, norm: Tensor, scale: Tensor | None
    ) -> None:
        """Note a step before its update.

        Args:
            batch: this rank's part.
            epoch: from 1.
            losses: of this rank's rows, f32 [n], detached.
            norm: of the mean gradient over ranks, f32 [], the same on all; NaN if any loss is not finite.
            scale: of the losses in the backward pass, f32 []; None without scaling.

        Raises:
            NotFinite: where every step is looked at before its update.
        """
        outcome = torch.stack((norm,) if scale is None else (norm, scale))
        # From a GPU to page-locked memory.
        outcome = outcome.detach().to("cpu", non_blocking=True)
        copied = None
        if norm.device.type == "cuda":
            copied = torch.cuda.Event()
            copied.record()
        step = _Step(batch=batch, epoch=epoch, losses=losses, outcome=outcome, copied=copied)
        self._steps.append(step)
        if self._unseen == 0:
            self.settle()

    def look_back(self) -> None:
        """Check all steps but those that the device may still be at. Raises `NotFinite`."""
        self.settle(but=self._unseen)

    def settle(self, *, but: int = 0) -> None:
        """Check all steps but the last so many; waits for the device. Raises `NotFinite`."""
        while len(self._steps) > but:
            self._check(self._steps.popleft())

    def forget(self) -> None:
        """Training goes on from an earlier state: what was not looked at never happened."""
        self._steps.clear()

    def _check(self, step: _Step) -> None:
        if step.copied is not None:
            step.copied.synchronize()
        norm, scale = [*step.outcome.tolist(), 1.0][:2]
        if math.isfinite(norm):
            return
        # The norm is the same on all ranks, so all come here. A lower scale mends what it has done itself.
        faulty = (~torch.isfinite(step.losses)).sum()
        if scale > 1 and int(sum_over_ranks(faulty, self._ranks)) == 0:
            return
        raise _not_finite(step, self._ranks)


def _not_finite(step: _Step, ranks: Ranks) -> NotFinite:
    """Describe the fault; a collective."""
    row_id = step.batch.columns[3]
    known = torch.where(torch.isfinite(step.losses), step.losses, torch.inf)
    worst = known.argsort(descending=True)[:_ROWS]
    values = gather_rows(step.losses[worst], ranks).tolist()
    ids = gather_rows(row_id[worst], ranks).tolist()
    pairs = sorted(zip(ids, values), key=lambda pair: (math.isfinite(pair[1]), -pair[1]))[:_ROWS]
    batch = step.batch
    return NotFinite(epoch=step.epoch, batch=batch.index, rows=batch.global_rows, worst=pairs)
