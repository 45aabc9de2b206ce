"""Checkpoints: safetensors and JSON in a folder that appears by one rename, named by a pointer.

`torch.distributed.checkpoint` keeps its metadata as a pickle, which this project stores nowhere; with
replicated parameters one rank holds the whole state anyway. The position in the data is one integer,
the number of global batches done, so that any number of ranks can continue.
"""

import hashlib
import json
import os
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from pipeline_assets.training.files import json_bytes, write_atomically

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


def save_checkpoint(
    folder: Path,
    state: TrainingState,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    best: dict[str, Tensor],
) -> None:
    """Publish a checkpoint; keeps the one before it, removes older ones."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"model/{name}": tensor for name, tensor in network.state_dict().items()}
    tensors |= {f"best/{name}": tensor for name, tensor in best.items()}
    for name, parameter in network.named_parameters():
        for key, value in optimizer.state[parameter].items():
            tensors[f"optimizer/{name}/{key}"] = value
    content = save({k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()})
    name = f"batch-{state.position:09d}"
    temporary = folder / f".{name}.{os.getpid()}"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    write_atomically(temporary / "state.safetensors", content)
    described = asdict(state) | {"sha256": hashlib.sha256(content).hexdigest()}
    write_atomically(temporary / "state.json", json_bytes(described))
    shutil.rmtree(folder / name, ignore_errors=True)
    temporary.rename(folder / name)
    _sync(folder)
    kept = [name, *(old for old in _names(folder) if old != name)][:KEPT]
    write_atomically(folder / POINTER, json_bytes(kept))
    for entry in folder.iterdir():
        if entry.is_dir() and entry.name not in kept:
            shutil.rmtree(entry, ignore_errors=True)


def load_checkpoint(
    folder: Path, fingerprint: str
) -> tuple[TrainingState | None, dict[str, Tensor], list[str]]:
    """Return the newest usable state of this job, its tensors, and notes on what was passed over."""
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
        return TrainingState(**described), load(content), notes
    return None, {}, notes


def restore(
    tensors: dict[str, Tensor], network: nn.Module, optimizer: torch.optim.Optimizer
) -> dict[str, Tensor]:
    """Put a checkpoint's tensors into network and optimiser; return the best weights."""
    network.load_state_dict(_below(tensors, "model/"))
    for name, parameter in network.named_parameters():
        found = _below(tensors, f"optimizer/{name}/")
        # AdamW keeps its step counter on the CPU unless it is fused; load as the parameter lies.
        optimizer.state[parameter] = {key: v.to(parameter.device) for key, v in found.items()}
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
