"""What an epoch adds up over its batches: losses, and rows for the proof that none is lost."""

import math
import time

import numpy as np
import torch
from torch import Tensor

from pipeline_assets.training.checkpoint import TrainingState
from pipeline_assets.training.collectives import gather_rows, sum_over_ranks
from pipeline_assets.training.parallelize import Ranks


class EpochSums:
    """This rank's part of the sums, on top of what a resumed state brings.

    With the same number of ranks as before, each goes on with its own sum of losses, so that a resumed
    epoch ends with the same bits; otherwise the leading rank takes them all.

    Args:
        state: in mid-epoch, or at the start of one.
        ranks: all of them add their parts.
    """

    def __init__(self, state: TrainingState, ranks: Ranks) -> None:
        self._ranks = ranks
        self._started = time.perf_counter() - state.epoch_seconds
        losses, before = state.epoch_losses, 0.0
        if len(losses) == ranks.world_size:
            before = losses[ranks.rank]
        elif ranks.leads:
            before = math.fsum(losses)
        self._loss = torch.tensor(before, dtype=torch.float64, device=ranks.device)
        seen = (state.epoch_rows, state.epoch_row_id_sum) if ranks.leads else (0, 0)
        self._seen = np.array(seen, dtype=np.int64)

    def add(self, loss: Tensor, row_id: np.ndarray) -> None:
        """Add this rank's part of a global batch: its sum of row losses f64, its row ids i64 [n]."""
        self._loss += loss
        self._seen += (len(row_id), row_id.sum(dtype=np.int64))

    def store(self, state: TrainingState) -> None:
        """Put the sums over all ranks into the state; a collective."""
        state.epoch_losses = gather_rows(self._loss[None], self._ranks).tolist()
        seen = sum_over_ranks(torch.from_numpy(self._seen), self._ranks)
        state.epoch_rows, state.epoch_row_id_sum = seen.tolist()
        state.epoch_seconds = time.perf_counter() - self._started
