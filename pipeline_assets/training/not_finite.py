"""A loss or gradient that is NaN or infinite: which batch, which rows."""

import math

import torch
from torch import Tensor

from pipeline_assets.shards.reader import Batch
from pipeline_assets.training.parallelize import Ranks, gather_rows

_ROWS = 5


class NotFinite(Exception):
    """Raised on all ranks in the same step, before the update.

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


def not_finite(batch: Batch, epoch: int, losses: Tensor, ranks: Ranks) -> NotFinite:
    """Describe the fault; a collective, all ranks must call it.

    Args:
        batch: this rank's part.
        epoch: from 1.
        losses: of this rank's rows, f32 [n], detached.
        ranks: all of them have parts of the batch.
    """
    row_id = torch.from_numpy(batch.rows.row_id).to(losses.device)
    known = torch.where(torch.isfinite(losses), losses, torch.inf)
    worst = known.argsort(descending=True)[:_ROWS]
    values = gather_rows(losses[worst], ranks).tolist()
    ids = gather_rows(row_id[worst], ranks).tolist()
    pairs = sorted(zip(ids, values), key=lambda pair: (math.isfinite(pair[1]), -pair[1]))[:_ROWS]
    return NotFinite(epoch=epoch, batch=batch.index, rows=batch.global_rows, worst=pairs)
