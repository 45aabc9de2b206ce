"""The model as a finished training leaves it, with what it was made of."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline_assets.shards.index import ShardIndex
from pipeline_assets.training.checkpoint import TrainingState
from pipeline_assets.training.config import TrainingJob
from pipeline_assets.training.model import save_model
from pipeline_assets.training.parallelize import Ranks, whole
from pipeline_assets.training.tasks import TargetScale


def save_artefact(
    job: TrainingJob,
    state: TrainingState,
    best: dict[str, Tensor],
    ranks: Ranks,
    index: ShardIndex,
    left_out: list[dict[str, Any]],
    *,
    positive_weight: float | list[float],
    target: TargetScale,
) -> None:
    """Write the job's output; all ranks come here together, the leading one writes.

    Args:
        job: that is finished.
        state: at its end.
        best: weights of the best epoch, sharded or not.
        ranks: all of them.
        index: of the shards, damaged ones included.
        left_out: damaged shards that took no part, with their `split` and `rows`.
        positive_weight: of the loss, resolved; of each label if many.
        target: scale of a regression's labels.
    """
    weights: dict[str, Tensor] = {}
    for name, tensor in best.items():
        # One at a time: a device need not have room for all.
        gathered = whole(tensor)
        if ranks.leads:
            weights[name] = gathered.cpu()
    if not ranks.leads:
        return
    missing = sum(shard["rows"] for shard in left_out if shard["split"] == "train")
    save_model(
        Path(job.output),
        weights=weights,
        config=job.model,
        positive_weight=positive_weight,
        target=target,
        extra={
            "training": job.training.shaping(),
            "seed": job.seed,
            "shards": index.hash,
            "left_out_shards": left_out,
            "train_rows": index.split_rows["train"] - missing,
            "best_epoch": state.best_epoch,
            "best_score": state.best_score,
            "reloads": state.reloads,
            "world_size": ranks.world_size,
            "torch": torch.__version__,
        },
    )
