"""The number formats of a training step: autocast, TF32, loss scaling. Weights are float32 throughout.

Validation, and every use of the finished model, computes in float32: the epoch is chosen by what is
served.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor

from pipeline_assets.training.config import Precision, TrainingError

_AUTOCAST: dict[Precision, torch.dtype] = {
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


class MixedPrecision:
    """What a precision does to one training.

    Small gradients vanish in float16: there the loss is scaled up before the backward pass and the
    gradients down after it. Where that overflows, the update is left out and the scale halved, on all
    ranks alike: replicated gradients are the mean over ranks, and for sharded ones torch reduces its
    overflow flag over them.
    """

    def __init__(self, precision: Precision, device: torch.device) -> None:
        self._device = device.type
        self._dtype = _AUTOCAST.get(precision)
        self._scales = precision == "float16"
        self._scaler = self._new_scaler()

    def _new_scaler(self) -> torch.amp.GradScaler:
        return torch.amp.GradScaler(self._device, enabled=self._scales)

    def autocast(self) -> AbstractContextManager[Any]:
        """Context of the forward pass."""
        if self._dtype is None:
            return nullcontext()
        return torch.autocast(self._device, self._dtype)

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of a loss, scaled where that is needed."""
        self._scaler.scale(loss).backward()

    def unscale(self, optimizer: torch.optim.Optimizer) -> None:
        """Make the gradients those of the loss; once per update, before they are clipped."""
        if self._scaler.is_enabled():
            self._scaler.unscale_(optimizer)

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """Update the weights, except where scaled gradients overflowed."""
        self._scaler.step(optimizer)
        self._scaler.update()

    def scale(self) -> Tensor | None:
        """Factor of the losses in the last backward pass, f32 [], on the device; None without scaling."""
        if not self._scales:
            return None
        return self._scaler.scale(torch.ones((), device=self._device))

    def state(self) -> dict[str, float]:
        """What a checkpoint keeps; empty without loss scaling."""
        return self._scaler.state_dict()

    def restore(self, state: dict[str, float]) -> None:
        """Go on from `state`'s answer, also where the last step was broken off before its update."""
        # A scaler remembers what it has unscaled until the update; loading a state does not change that.
        self._scaler = self._new_scaler()
        if state:
            self._scaler.load_state_dict(state)


def set_precision(precision: Precision, device: torch.device) -> str | None:
    """Set what torch has only one switch for; return a note where the precision has no effect.

    Raises:
        TrainingError: float16 on a CPU.
    """
    if device.type == "cpu":
        if precision == "float16":
            raise TrainingError(
                "training.precision float16 needs a GPU, and this training runs on CPUs: take float32, "
                "or bfloat16, which needs no loss scaling"
            )
        return (
            "precision tf32 is a mode of GPUs: computing in float32"
            if precision == "tf32"
            else None
        )
    # Not by `torch.backends`: once its newer switches are mixed with this one, the compiler, which asks
    # by this one, gets an error (seen with torch 2.13).
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    return None


@contextmanager
def full_float32() -> Iterator[None]:
    """While predictions are made in a training: no TF32, whatever the training computes in."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
