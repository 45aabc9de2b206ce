"""Losses per row, f32 [n], from a network's outputs and the labels."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline_assets.option_types import Bounds, NotNegative, Positive
from pipeline_assets.training.config import ModelConfig, TrainingConfig, TrainingError
from pipeline_assets.training.models.options import read_options
from pipeline_assets.training.tasks import UNSCALED, TargetScale, losses_of


@dataclass(frozen=True, kw_only=True)
class NoOptions:
    """Options of losses that have none."""


@dataclass(frozen=True, kw_only=True)
class FocalOptions:
    """Options of focal loss (Lin, Goyal, Girshick, He, Dollár: "Focal Loss for Dense Object
    Detection", ICCV 2017).

    It is no proper score: what it trains ranks well, but its probabilities are drawn to the middle.
    """

    gamma: NotNegative = 2.0
    """Rows are weighted by (1 - probability of their class) to this power; 0 gives cross-entropy."""
    alpha: Annotated[float, Bounds(above=0, below=1)] | None = None
    """Weight of positive labels, negative ones have 1 - alpha; None weighs neither. Not for multi-class."""


@dataclass(frozen=True, kw_only=True)
class HuberOptions:
    """Options of the Huber loss."""

    delta: Positive = 1.0
    """Where it turns from squares to absolute values, in standard deviations of the training labels."""


class RowLosses(nn.Module):
    """Losses [n] of outputs [n, *output_shape] or [n, members, *output_shape].

    Members of an ensemble are trained each on its own, by the mean of their losses. Labels of a
    regression are standardised here, as the outputs are. Always in float32. `positive_weight` is one
    factor, or one for each label of a multi-label task.

    Raises:
        TrainingError: an option that the loss does not know, or a value that it does not take.
    """

    positive_weight: Tensor
    quantiles: Tensor

    def __init__(
        self,
        model: ModelConfig,
        training: TrainingConfig,
        *,
        positive_weight: float | list[float] = 1.0,
        target: TargetScale = UNSCALED,
    ) -> None:
        super().__init__()
        self.register_buffer("positive_weight", torch.tensor(positive_weight))
        self.register_buffer("quantiles", torch.tensor(model.quantiles))
        self._target = target if model.task == "regression" else None
        self._axes = len(model.output_shape)
        self._many_labels = model.task == "multilabel"
        self._of = self._chosen(model, training)

    def _chosen(
        self, model: ModelConfig, training: TrainingConfig
    ) -> Callable[[Tensor, Tensor], Tensor]:
        """The loss of outputs [..., *output_shape] and labels [...], or [..., labels]."""
        name = losses_of(model)[0] if training.loss == "auto" else training.loss
        known = {"focal": FocalOptions, "huber": HuberOptions}.get(name, NoOptions)
        options = read_options(training.loss_options, known, name, what="loss option")
        if isinstance(options, FocalOptions):
            if model.task != "multiclass":
                return partial(_focal, options)
            if options.alpha is not None:
                raise TrainingError("loss option alpha of focal is not for a multiclass label")
            return partial(_focal_of_classes, options)
        if isinstance(options, HuberOptions):
            return partial(functional.huber_loss, reduction="none", delta=options.delta)
        return {
            "binary_cross_entropy": self._binary_cross_entropy,
            "cross_entropy": _cross_entropy,
            "mse": partial(functional.mse_loss, reduction="none"),
            "quantile": self._pinball,
        }[name]

    def forward(self, output: Tensor, label: Tensor) -> Tensor:
        """Return losses f32 [n] for labels f32 [n], or f32 [n, labels]."""
        output = output.float()
        if self._target is not None:
            label = (label - self._target.mean) / self._target.std
        if output.ndim == 1 + self._axes:
            return self._per_row(output, label)
        spread = label[:, None].expand(len(label), output.shape[1], *label.shape[1:])
        return self._per_row(output, spread).mean(dim=1)

    def _per_row(self, output: Tensor, label: Tensor) -> Tensor:
        losses = self._of(output, label)
        return losses.mean(dim=-1) if self._many_labels else losses

    def _binary_cross_entropy(self, output: Tensor, label: Tensor) -> Tensor:
        return functional.binary_cross_entropy_with_logits(
            output, label, reduction="none", pos_weight=self.positive_weight
        )

    def _pinball(self, output: Tensor, label: Tensor) -> Tensor:
        below = label[..., None] - output
        return torch.maximum(self.quantiles * below, (self.quantiles - 1) * below).mean(dim=-1)


def _cross_entropy(output: Tensor, label: Tensor) -> Tensor:
    losses = functional.cross_entropy(
        output.flatten(0, -2), label.flatten().long(), reduction="none"
    )
    return losses.view(label.shape)


def _focal(options: FocalOptions, output: Tensor, label: Tensor) -> Tensor:
    right = output * (2 * label - 1)
    # By log-sigmoids: a power of 1 - p has no finite slope where p rounds to one.
    losses = -functional.logsigmoid(right) * (options.gamma * functional.logsigmoid(-right)).exp()
    if options.alpha is None:
        return losses
    return losses * (label * options.alpha + (1 - label) * (1 - options.alpha))


def _focal_of_classes(options: FocalOptions, output: Tensor, label: Tensor) -> Tensor:
    losses = _cross_entropy(output, label)
    wrong = (-torch.expm1(-losses)).clamp_min(torch.finfo(torch.float32).tiny)
    return losses * wrong**options.gamma
