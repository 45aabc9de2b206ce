"""Predictions for the validation split, each rank a contiguous part of it."""

from collections.abc import Callable

import numpy as np
import torch

from pipeline_assets.shards.reader import ShardReader
from pipeline_assets.training.model import BATCH_ROWS, TabularModel
from pipeline_assets.training.parallelize import Ranks, gather_rows, most_of_ranks


def validation_predictions(
    model: TabularModel,
    reader: ShardReader,
    ranks: Ranks,
    *,
    in_step: bool,
    on_block: Callable[[], None],
) -> tuple[np.ndarray, np.ndarray]:
    """Return labels [n] or [n, labels] and predictions [n, *output_shape] of the split, on every rank.

    Args:
        model: of which all ranks hold the same weights.
        reader: of the split.
        ranks: all must call this.
        in_step: all ranks call the model equally often: the network is sharded, each call gathers it.
        on_block: called after each block.
    """
    label_shape = model.output_shape if model.task == "multilabel" else ()
    label = [np.empty((0, *label_shape), np.float32)]
    predicted = [np.empty((0, *model.output_shape), np.float32)]
    part = {"rank": ranks.rank, "world_size": ranks.world_size}
    missing = 0
    if in_step:
        calls = sum(1 for _ in reader.iter_blocks(BATCH_ROWS, **part))
        missing = most_of_ranks(calls, ranks) - calls
    for rows in reader.iter_blocks(BATCH_ROWS, **part):
        predicted.append(model.predict(rows.numeric, rows.categorical))
        label.append(rows.label)
        on_block()
    _call_again(model, reader, missing)
    gathered = [
        gather_rows(torch.from_numpy(np.concatenate(parts)).to(ranks.device), ranks)
        for parts in (label, predicted)
    ]
    return gathered[0].cpu().numpy(), gathered[1].cpu().numpy()


@torch.no_grad()
def _call_again(model: TabularModel, reader: ShardReader, times: int) -> None:
    """Call the model with no rows, as this rank has fewer blocks than another."""
    device = model.logit_offset.device
    numeric = torch.empty(0, len(reader.index.numeric), device=device)
    categorical = torch.empty(0, len(reader.index.categorical), dtype=torch.int64, device=device)
    for _ in range(times):
        model(numeric, categorical)
