"""Checkpoints: safetensors and JSON in a folder that appears by one rename, named by a pointer.

`torch.distributed.checkpoint` keeps its metadata as a pickle, which this project stores nowhere. Sharded
parameters are gathered, and the position in the data is one integer, the number of global batches done,
so that any number of ranks can continue, replicated or sharded. When to save, and doing it beside the
training, is in `checkpoint_writer`; reading in `checkpoint_reader`; that only one training has a folder in
`checkpoint_lock`.
"""

import hashlib
import json
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from pipeline_assets.training.config import TrainingError
from pipeline_assets.training.files import json_bytes, write_atomically
from pipeline_assets.training.parallelize import whole

POINTER = "current.json"
STATE, TENSORS = "state.json", "state.safetensors"
KEPT = 2
COPIES = 4
"""Tensors of the network's size in a checkpoint: weights, two moments of the optimiser, best weights."""


@dataclass(kw_only=True)
class TrainingState:
    """All that training goes on from, the tensors apart."""

    fingerprint: str
    """Of the job; a state of another job is never continued."""
    position: int = 0
    """Global batches done since the start of training."""
    best_epoch: int = 0
    """Epoch (from 1) of the best validation score; 0 before the first."""
    best_score: float | None = None
    finished: bool = False
    """Training has ended, by the last epoch or by early stopping."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """One entry per epoch, timings included."""
    reloads: list[dict[str, Any]] = field(default_factory=list)
    """One entry per return to an earlier state after a loss that was not finite."""
    loss_scale: dict[str, float] = field(default_factory=dict)
    """State of the loss scaling; empty without."""
    epoch_losses: list[float] = field(default_factory=list)
    """Of the unfinished epoch: sum of row losses, per rank."""
    epoch_rows: int = 0
    """Of the unfinished epoch: rows seen, over all ranks."""
    epoch_row_id_sum: int = 0
    """Of the unfinished epoch: sum of `row_id` modulo 2**64 as int64, over all ranks."""
    epoch_seconds: float = 0.0
    """Of the unfinished epoch: wall time spent on its batches."""
    checkpoint_seconds: float = 0.0
    """Time of the leading rank's training thread spent on checkpoints since the last finished epoch."""

    def start_epoch(self) -> None:
        """Forget the sums of the epoch that is finished."""
        self.epoch_losses, self.epoch_rows, self.epoch_row_id_sum = [], 0, 0
        self.epoch_seconds = self.checkpoint_seconds = 0.0

    @property
    def in_epoch(self) -> bool:
        """Whether this is the state in the middle of an epoch."""
        return self.epoch_rows > 0

    @property
    def name(self) -> str:
        """Name of the checkpoint's folder: epochs done, batches done if in mid-epoch, reloads."""
        batch = f"-batch-{self.position:09d}" if self.in_epoch else ""
        reload = f"-reload-{len(self.reloads)}" if self.reloads else ""
        return f"epoch-{len(self.history):04d}{batch}{reload}"


def snapshot(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    best: dict[str, Tensor],
    *,
    keep: bool,
) -> dict[str, Tensor]:
    """Return copies in host memory of all tensors that training goes on from, sharded ones in one piece.

    A collective. `best` is not copied where it lies on the host: nothing writes to it.

    Args:
        network: as it is trained.
        optimizer: of its parameters.
        best: weights of the best epoch.
        keep: false on ranks that only take part; they get nothing.
    """
    tensors = {f"model/{name}": tensor for name, tensor in network.state_dict().items()}
    for name, parameter in network.named_parameters():
        for key, value in optimizer.state[parameter].items():
            tensors[f"optimizer/{name}/{key}"] = value
    copies: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        gathered = whole(tensor.detach())
        if keep:
            copies[name] = gathered.to("cpu", copy=True, memory_format=torch.contiguous_format)
    for name, tensor in best.items():
        gathered = whole(tensor.detach())
        if keep:
            copies[f"best/{name}"] = gathered.cpu().contiguous()
    return copies


def write_checkpoint(
    folder: Path, state: dict[str, Any], name: str, tensors: dict[str, Tensor]
) -> None:
    """Publish a checkpoint; keeps those that may be needed, removes older ones.

    Kept are the one before it and the last one at the end of an epoch, which a training returns to
    after a loss that is not finite.

    Raises:
        OSError: the folder cannot be written; what was published before stays.
    """
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{name}"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    content = temporary / TENSORS
    save_file(tensors, content)
    with content.open("rb") as file:
        os.fsync(file.fileno())
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    write_atomically(temporary / STATE, json_bytes(state | {"sha256": sha256}))
    _sync(temporary)
    shutil.rmtree(folder / name, ignore_errors=True)
    temporary.rename(folder / name)
    _sync(folder)
    names = [name, *(old for old in checkpoint_names(folder) if old != name)]
    kept = [
        found
        for at, found in enumerate(names)
        if at < KEPT or found == next((n for n in names if "-batch-" not in n), None)
    ]
    write_atomically(folder / POINTER, json_bytes(kept))
    remove_leftovers(folder)


def remove_leftovers(folder: Path) -> None:
    """Remove what a killed process was writing, or had not removed yet.

    Only for who holds the folder's lock: another process may be writing there.
    """
    kept = checkpoint_names(folder)
    for entry in folder.iterdir():
        if entry.is_dir() and entry.name not in kept:
            shutil.rmtree(entry, ignore_errors=True)
        elif entry.name.startswith(f".{POINTER}"):
            entry.unlink(missing_ok=True)


def begin_with(folder: Path, name: str) -> None:
    """Leave those out of the list that are newer than this one, which is the newest that can be used.

    They would take the place of usable ones among those that are kept.
    """
    names = checkpoint_names(folder)
    if names[0] != name:
        write_atomically(folder / POINTER, json_bytes(names[names.index(name) :]))


def checkpoint_names(folder: Path) -> list[str]:
    """Return the names that the pointer holds, newest first. Raises `TrainingError` where it is damaged."""
    path = folder / POINTER
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    except ValueError as error:
        raise TrainingError(
            f"{path}, the list of checkpoints, newest first, is damaged: {error}. Write it anew from the "
            "names of the folders beside it, or remove it to start anew"
        ) from None


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
