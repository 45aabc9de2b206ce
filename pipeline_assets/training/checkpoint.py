"""Checkpoints: safetensors and JSON in a folder that appears by one rename, named by a pointer.

`torch.distributed.checkpoint` keeps its metadata as a pickle, which this project stores nowhere. Sharded
parameters are gathered, and the position in the data is one integer, the number of global batches done,
so that any number of ranks can continue, replicated or sharded. When to save, and doing it beside the
training, is in `checkpoint_writer`.
"""

import hashlib
import json
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save_file
from torch import Tensor, nn

from pipeline_assets.training.files import json_bytes, write_atomically
from pipeline_assets.training.parallelize import placed_like, whole

POINTER = "current.json"
KEPT = 2


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
    temporary = folder / f".{name}.{os.getpid()}"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    content = temporary / "state.safetensors"
    save_file(tensors, content)
    with content.open("rb") as file:
        os.fsync(file.fileno())
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    write_atomically(temporary / "state.json", json_bytes(state | {"sha256": sha256}))
    _sync(temporary)
    shutil.rmtree(folder / name, ignore_errors=True)
    temporary.rename(folder / name)
    _sync(folder)
    names = [name, *(old for old in _names(folder) if old != name)]
    kept = [
        found
        for at, found in enumerate(names)
        if at < KEPT or found == next((n for n in names if "-batch-" not in n), None)
    ]
    write_atomically(folder / POINTER, json_bytes(kept))
    for entry in folder.iterdir():
        if entry.is_dir() and entry.name not in kept:
            shutil.rmtree(entry, ignore_errors=True)


def remove_leftovers(folder: Path) -> None:
    """Remove what a killed process was writing: nothing of it was ever published."""
    for entry in folder.glob(".*"):
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)


def load_checkpoint(
    folder: Path, fingerprint: str, *, end_of_epoch: bool = False
) -> tuple[TrainingState | None, dict[str, Tensor], list[str]]:
    """Return the newest usable state of this job, its tensors, and notes on what was passed over.

    Args:
        folder: the job's folder of checkpoints; need not exist.
        fingerprint: of the job.
        end_of_epoch: take none in mid-epoch.
    """
    notes: list[str] = []
    for name in _names(folder):
        try:
            described = json.loads((folder / name / "state.json").read_text(encoding="utf-8"))
            content = (folder / name / "state.safetensors").read_bytes()
        except (OSError, ValueError) as error:
            notes.append(f"checkpoint {folder / name} is unreadable and passed over: {error}")
            continue
        if hashlib.sha256(content).hexdigest() != described.pop("sha256", None):
            notes.append(f"checkpoint {folder / name} is damaged and passed over")
            continue
        if described["fingerprint"] != fingerprint:
            notes.append(f"checkpoint {folder / name} belongs to another training; starting anew")
            continue
        state = TrainingState(**described)
        if end_of_epoch and state.in_epoch:
            continue
        return state, load(content), notes
    return None, {}, notes


def restore(
    tensors: dict[str, Tensor], network: nn.Module, optimizer: torch.optim.Optimizer
) -> dict[str, Tensor]:
    """Put a checkpoint's tensors into network and optimiser; return the best weights."""
    held = network.state_dict()
    weights = _below(tensors, "model/")
    network.load_state_dict({k: placed_like(v, held[k]) for k, v in weights.items()})
    for name, parameter in network.named_parameters():
        found = _below(tensors, f"optimizer/{name}/")
        # AdamW keeps its step counter on the CPU unless it is fused; load as the parameter lies.
        optimizer.state[parameter] = {k: placed_like(v, parameter) for k, v in found.items()}
    return _below(tensors, "best/")


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


def _names(folder: Path) -> list[str]:
    """Checkpoint names of the pointer, newest first."""
    try:
        return json.loads((folder / POINTER).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
