"""How the ranks of a training meet, before they form a process group.

Each writes to the store, as JSON, what it has and what it was given, and reads that of all others. So
every rank finds out that they do not go together, even where no one backend would suit all of them.
"""

import dataclasses
import json
import os
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import torch

# Documented there, but not marked as exported.
from torch.distributed import (
    DistError,
    DistStoreError,
    FileStore,  # pyright: ignore[reportPrivateImportUsage]
    PrefixStore,  # pyright: ignore[reportPrivateImportUsage]
    Store,  # pyright: ignore[reportPrivateImportUsage]
)
from torch.distributed.rendezvous import rendezvous

from pipeline_assets.training.config import TrainingError
from pipeline_assets.training.pipes import PIPES_CONTEXT
from pipeline_assets.training.processes import STORE_FOLDER


@dataclass(frozen=True, kw_only=True)
class Introduction:
    """What a rank tells the others."""

    rank: int
    host: str
    job: str
    """Digest of what it was given to train; empty where that is no job."""
    gpus: int
    """Visible on its node."""
    processes: int
    """Ranks of its node."""
    has_pipes: bool
    """Whether Dagster listens to it."""


def meet(rank: int, world_size: int, timeout: timedelta, job: str) -> tuple[Store, int]:
    """Wait for all ranks; return the store for their process group, and the rank that reports.

    Args:
        rank: of this process.
        world_size: of all.
        timeout: for the others to come.
        job: digest of what this rank was given to train.

    Raises:
        TrainingError: the ranks cannot train together; the same on all of them.
        DistError: a rank has not come in time, or the store is gone.
    """
    store = _open_store(rank, world_size, timeout)
    own = Introduction(
        rank=rank,
        host=socket.gethostname(),
        job=job,
        gpus=torch.cuda.device_count(),
        processes=int(os.environ.get("LOCAL_WORLD_SIZE", "1")),
        has_pipes=PIPES_CONTEXT in os.environ,
    )
    everyone = _introduce(store, own, world_size)
    check_together(everyone)
    return PrefixStore("group", store), reporter_of(everyone)


def check_together(everyone: Sequence[Introduction]) -> None:
    """Raise `TrainingError`, the same on all ranks, where they cannot train together."""
    for one in everyone:
        if 0 < one.gpus < one.processes:
            raise TrainingError(
                f"{one.processes} processes on {one.host}, which has {one.gpus} GPU(s): each needs one of "
                f"its own. Set training.processes in the environment to {one.gpus} or auto, or hide the "
                "GPUs (CUDA_VISIBLE_DEVICES=) to train on CPUs"
            )
    jobs = sorted({one.job for one in everyone})
    if len(jobs) > 1:
        groups = "; ".join(
            f"job {job or '(none)'}: {_names(one for one in everyone if one.job == job)}"
            for job in jobs
        )
        raise TrainingError(
            f"the ranks were given different jobs ({groups}). Start the launcher with the same job file on "
            "all nodes, and give each training an endpoint of its own"
        )
    without = [one for one in everyone if one.gpus == 0]
    if 0 < len(without) < len(everyone):
        raise TrainingError(
            f"some ranks have no GPU ({_names(without)}) and others have one "
            f"({_names(one for one in everyone if one.gpus)}). Leave out the nodes without, or hide the "
            "GPUs on all nodes (CUDA_VISIBLE_DEVICES=) to train on CPUs"
        )


def reporter_of(everyone: Sequence[Introduction]) -> int:
    """Return the rank that says how it goes: the lowest that Dagster listens to, else 0.

    Torch orders nodes by name, so rank 0 need not be on the one whose launcher Dagster has started.
    """
    return next((one.rank for one in everyone if one.has_pipes), 0)


def _open_store(rank: int, world_size: int, timeout: timedelta) -> Store:
    """Return the store of this attempt: a file on one machine, where nothing then listens, else TCP."""
    folder = os.environ.get(STORE_FOLDER)
    if folder is None:
        store, _, _ = next(rendezvous("env://", rank, world_size, timeout=timeout))
    else:
        # What ranks that are dead have written must not be found by those that come after them.
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        store = FileStore(str(Path(folder) / f"store-{attempt}"), world_size)
    store.set_timeout(timeout)
    return store


def _introduce(store: Store, own: Introduction, world_size: int) -> list[Introduction]:
    """Tell the others about this rank; return all, in the order of ranks."""
    try:
        store.set(f"introduction/{own.rank}", json.dumps(dataclasses.asdict(own)))
        everyone = [
            Introduction(**json.loads(store.get(f"introduction/{rank}")))
            for rank in range(world_size)
        ]
        # Who holds the store must not leave before all have read.
        if store.add("introduction/read", 1) == world_size:
            store.set("introduction/read by all", "")
        store.get("introduction/read by all")
    except DistError:
        raise
    except RuntimeError as error:  # what a store in a file raises
        raise DistStoreError(str(error)) from error
    return everyone


def _names(ranks: Iterable[Introduction]) -> str:
    return ", ".join(f"rank {one.rank} on {one.host}" for one in ranks)
