"""Reading checkpoints: which one to go on from, and its tensors into network and optimiser."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from pipeline_assets.shards.verified import sha256_of
from pipeline_assets.training.checkpoint import STATE, TENSORS, TrainingState, checkpoint_names
from pipeline_assets.training.parallelize import placed_like


def load_checkpoint(
    folder: Path,
    fingerprint: str,
    *,
    end_of_epoch: bool = False,
    on_progress: Callable[[], None] = lambda: None,
) -> tuple[TrainingState | None, Path, list[str]]:
    """Return the newest usable state of this job, the file of its tensors, and notes on others.

    The file is read once, in pieces, to compare its hash; `restore` maps it.

    Args:
        folder: the job's folder of checkpoints; need not exist.
        fingerprint: of the job.
        end_of_epoch: take none in mid-epoch.
        on_progress: called after each piece that was read.

    Raises:
        TrainingError: the list of checkpoints is damaged.
    """
    notes: list[str] = []
    names = checkpoint_names(folder)
    for name in names:
        content = folder / name / TENSORS
        try:
            described = json.loads((folder / name / STATE).read_text(encoding="utf-8"))
            expected = described.pop("sha256")
            state = TrainingState(**described)
            # Hashing takes long: only of what could be used.
            if state.fingerprint != fingerprint:
                notes.append(
                    f"checkpoint {folder / name} belongs to another training and is passed over"
                )
                continue
            if end_of_epoch and state.in_epoch:
                continue
            found = sha256_of(content, on_progress)
        except (OSError, ValueError, KeyError, TypeError) as error:
            notes.append(f"checkpoint {folder / name} is unreadable and passed over: {error!r}")
            continue
        if found == expected:
            return state, content, notes
        notes.append(f"checkpoint {folder / name} is damaged and passed over")
    if notes and not end_of_epoch:
        notes.append(f"none of {len(names)} checkpoints in {folder} can be used; starting anew")
    return None, folder, notes


def restore(
    content: Path, network: nn.Module, optimizer: torch.optim.Optimizer
) -> dict[str, Tensor]:
    """Put a checkpoint's tensors into network and optimiser; return the best weights.

    The file is mapped: of sharded parameters a rank reads its parts only. What is returned or kept is
    copied out of it, since the file is removed when newer ones are there.

    Args:
        content: file of tensors, from `load_checkpoint`.
        network: as it is trained.
        optimizer: of its parameters.
    """
    with safe_open(content, framework="pt") as stored:
        held = network.state_dict()
        weights = _below(stored, "model/")
        network.load_state_dict({k: placed_like(v, held[k]) for k, v in weights.items()})
        for name, parameter in network.named_parameters():
            found = _below(stored, f"optimizer/{name}/")
            # AdamW keeps its step counter on the CPU unless it is fused; load as the parameter lies.
            optimizer.state[parameter] = {
                key: placed_like(value, parameter).clone() for key, value in found.items()
            }
        return {name: tensor.clone() for name, tensor in _below(stored, "best/").items()}


def _below(stored: Any, prefix: str) -> dict[str, Tensor]:
    """Tensors whose names begin so, as views of the mapped file."""
    names = stored.keys()
    return {
        name.removeprefix(prefix): stored.get_tensor(name)
        for name in names
        if name.startswith(prefix)
    }
