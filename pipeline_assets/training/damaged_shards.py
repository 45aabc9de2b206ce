"""Shards that are not what the index says: found by all ranks of a node together, left out by all ranks."""

import os
from dataclasses import dataclass
from typing import Any

import torch

from pipeline_assets.shards.errors import DamagedShard
from pipeline_assets.shards.index import Shard, ShardIndex, load_index
from pipeline_assets.shards.reader import verify_shard
from pipeline_assets.training.config import TrainingJob
from pipeline_assets.training.heartbeat import Heartbeat
from pipeline_assets.training.parallelize import Ranks, sum_over_ranks

SPLITS = ("train", "validation")


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """Shards that take no part in a training."""

    shards: tuple[Shard, ...] = ()
    reasons: tuple[str, ...] = ()
    """One per shard; the same on all ranks only for the number."""

    @property
    def files(self) -> frozenset[str]:
        """Their paths relative to the index."""
        return frozenset(shard.file for shard in self.shards)

    def entries(self) -> list[dict[str, Any]]:
        """JSON-safe form without places on this machine: file, split and rows of each."""
        return [{"file": s.file, "split": s.split, "rows": s.rows} for s in self.shards]

    def notes(self, rows: dict[str, int]) -> list[str]:
        """Sentences for the log.

        Args:
            rows: rows of each split, damaged ones included.
        """
        notes = [f"left out: {reason}" for reason in self.reasons]
        for split in SPLITS:
            gone = [shard for shard in self.shards if shard.split == split]
            if gone:
                notes.append(
                    f"{len(gone)} damaged shard(s) of the {split} split are left out, with "
                    f"{sum(s.rows for s in gone):,} of its {rows[split]:,} rows"
                )
        return notes


def find_damaged(job: TrainingJob, ranks: Ranks, heartbeat: Heartbeat) -> LeftOut:
    """Re-hash the shards that training reads and return those to leave out, the same on all ranks.

    The ranks of a node share its shards among them, since nodes may have copies of their own; what is
    damaged on one node is left out on all.

    Raises:
        ShardError: a shard is damaged and the policy is to fail, or cannot be read; it is named.
    """
    if not job.verify_shards:
        return LeftOut()
    index, folder = load_index(job.shards), job.shards
    checked = [shard for shard in index.shards if shard.split in SPLITS]
    damaged = torch.zeros(len(checked), dtype=torch.int64)
    # What is left out must be known before the first batch; what ends the training anyway need not.
    skip = job.training.on_damaged_shard == "skip"
    first = int(os.environ.get("LOCAL_RANK", "0"))
    for at in range(first, len(checked), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))):
        try:
            verify_shard(folder, index, checked[at], download=skip, on_progress=heartbeat.alive)
        except DamagedShard:
            if not skip:
                raise
            damaged[at] = 1
        heartbeat.starting()
    found = sum_over_ranks(damaged, ranks).nonzero().flatten().tolist()
    shards = tuple(checked[at] for at in found)
    reasons = tuple(_reason(folder, index, shard, heartbeat) for shard in shards)
    return LeftOut(shards=shards, reasons=reasons)


def _reason(folder: str, index: ShardIndex, shard: Shard, heartbeat: Heartbeat) -> str:
    try:
        verify_shard(folder, index, shard, on_progress=heartbeat.alive)
    except DamagedShard as error:
        return str(error)
    return f"shard {shard.file} is damaged on another node"
