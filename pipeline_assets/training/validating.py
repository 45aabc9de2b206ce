"""Scores of the validation split: each rank predicts a contiguous part of it, the leading rank judges."""

from collections.abc import Callable

import numpy as np
import torch

from pipeline_assets.shards.order import slices_of_rank
from pipeline_assets.shards.reader import ShardReader
from pipeline_assets.training.collectives import gather_on_leader, most_of_ranks, sum_over_ranks
from pipeline_assets.training.metrics import validation_scores
from pipeline_assets.training.model import BATCH_ROWS, TabularModel
from pipeline_assets.training.parallelize import Ranks
from pipeline_assets.training.tasks import monitors_of


def score_validation(
    model: TabularModel,
    reader: ShardReader,
    ranks: Ranks,
    *,
    in_step: bool,
    on_block: Callable[[], None],
) -> dict[str, float]:
    """Return the scores of the split that `monitors_of` names, the same numbers on every rank.

    Labels and predictions of all rows are in the memory of the leading rank alone.

    Args:
        model: of which all ranks hold the same weights.
        reader: of the split.
        ranks: all must call this.
        in_step: all ranks call the model equally often: the network is sharded, each call gathers it.
        on_block: called after each block.
    """
    label_shape = model.output_shape if model.task == "multilabel" else ()
    first, end = slices_of_rank(0, reader.rows, ranks.rank, ranks.world_size)
    label = np.empty((end - first, *label_shape), np.float32)
    predicted = np.empty((end - first, *model.output_shape), np.float32)
    part = {"rank": ranks.rank, "world_size": ranks.world_size}
    missing = at = 0
    if in_step:
        calls = sum(1 for _ in reader.iter_blocks(BATCH_ROWS, **part))
        missing = most_of_ranks(calls, ranks) - calls
    for rows in reader.iter_blocks(BATCH_ROWS, **part):
        block = slice(at, at + len(rows.label))
        predicted[block] = model.predict(rows.numeric, rows.categorical)
        label[block] = rows.label
        at = block.stop
        on_block()
    _call_again(model, reader, missing)
    labels, predictions = (gather_on_leader(values, ranks) for values in (label, predicted))
    names = monitors_of(model.config)
    # What the leading rank says: on another type of processor the last digit may differ.
    said = torch.zeros(len(names), dtype=torch.float64)
    if labels is not None and predictions is not None:
        scores = validation_scores(labels, predictions, model.config)
        said = torch.tensor([scores[name] for name in names], dtype=torch.float64)
    return dict(zip(names, sum_over_ranks(said, ranks).tolist(), strict=True))


@torch.no_grad()
def _call_again(model: TabularModel, reader: ShardReader, times: int) -> None:
    """Call the model with no rows, as this rank has fewer blocks than another."""
    device = model.logit_offset.device
    numeric = torch.empty(0, len(reader.index.numeric), device=device)
    categorical = torch.empty(0, len(reader.index.categorical), dtype=torch.int64, device=device)
    for _ in range(times):
        model(numeric, categorical)
