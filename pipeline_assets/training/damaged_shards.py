"""Shards that are not what the index says: found by all ranks of a node together, left out by all ranks."""

import json
import os
import re
import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pipeline_assets.shards.errors import DamagedShard
from pipeline_assets.shards.index import Shard, ShardIndex, load_index
from pipeline_assets.shards.reader import verify_shard
from pipeline_assets.shards.verified import VerifiedFiles
from pipeline_assets.training.collectives import sum_over_ranks
from pipeline_assets.training.config import TrainingError, TrainingJob
from pipeline_assets.training.files import json_bytes, write_atomically
from pipeline_assets.training.heartbeat import Heartbeat
from pipeline_assets.training.parallelize import Ranks
from pipeline_assets.training.processes import available_cores

SPLITS = ("train", "validation")
_RECORD = "verified"
"""Name of the notes, followed by rank and node."""


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
    damaged on one node is left out on all. What was verified is noted beside the checkpoints, by node: when
    the training goes on, only files that have changed since are hashed.

    Raises:
        TrainingError: the folder of the checkpoints cannot be written.
        ShardError: a shard is damaged and the policy is to fail, or cannot be read; it is named.
    """
    if not job.verify_shards:
        return LeftOut()
    index, folder = load_index(job.shards), job.shards
    checked = [shard for shard in index.shards if shard.split in SPLITS]
    damaged = torch.zeros(len(checked), dtype=torch.int64)
    # What is left out must be known before the first batch; what ends the training anyway need not.
    skip = job.training.on_damaged_shard == "skip"
    rank, ranks_here = (
        int(os.environ.get(name, default))
        for name, default in (("LOCAL_RANK", "0"), ("LOCAL_WORLD_SIZE", "1"))
    )
    verified = _verified_before(Path(job.checkpoints))

    def check(at: int) -> None:
        options = {"verified": verified, "on_progress": heartbeat.alive}
        try:
            verify_shard(folder, index, checked[at], download=skip, **options)
        except DamagedShard as error:
            if not skip:
                raise DamagedShard(
                    f"{error}, or train without it (`training.on_damaged_shard: skip`)"
                ) from None
            damaged[at] = 1
        heartbeat.alive()

    pool = ThreadPoolExecutor(max(1, available_cores() // ranks_here))
    try:
        for _ in pool.map(check, range(rank, len(checked), ranks_here)):
            pass
    finally:
        pool.shutdown(cancel_futures=True)
    _note(Path(job.checkpoints), ranks, verified)
    found = sum_over_ranks(damaged, ranks).nonzero().flatten().tolist()
    shards = tuple(checked[at] for at in found)
    reasons = tuple(_reason(folder, index, shard, heartbeat) for shard in shards)
    return LeftOut(shards=shards, reasons=reasons)


def _verified_before(folder: Path) -> VerifiedFiles:
    """What the ranks of this node have verified at earlier starts."""
    notes = list(folder.glob(f"{_RECORD}-*@{_node()}.json"))
    before: dict[str, Any] = {}
    for path in notes:
        before |= json.loads(path.read_text(encoding="utf-8"))
    return VerifiedFiles(before if notes else None)


def _note(folder: Path, ranks: Ranks, verified: VerifiedFiles) -> None:
    path = folder / f"{_RECORD}-{ranks.rank}@{_node()}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json_bytes(verified.entries))
    except OSError as error:
        raise TrainingError(
            f"{path} cannot be written: {error}. Make room or give write access there and run again"
        ) from error


def _node() -> str:
    return re.sub("[^A-Za-z0-9.-]", "_", socket.gethostname())


def _reason(folder: str, index: ShardIndex, shard: Shard, heartbeat: Heartbeat) -> str:
    try:
        verify_shard(folder, index, shard, on_progress=heartbeat.alive)
    except DamagedShard as error:
        return str(error)
    return f"shard {shard.file} is damaged on another node"
