"""Models that misbehave, named by dotted path in jobs."""

import dataclasses
import os
import signal
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from pipeline_assets.training.config import ModelConfig, TrainingError
from pipeline_assets.training.models import mlp


class TorchDropout(nn.Module):
    """Draws from torch's generator, as no model of ours does."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.network = mlp.build(config)
        self.dropout = nn.Dropout(0.5)

    def forward(self, numeric: Tensor, categorical: Tensor) -> Tensor:
        return self.network(self.dropout(numeric), categorical)


def with_torch_dropout(config: ModelConfig) -> nn.Module:
    return TorchDropout(config)


class Overflowing(nn.Module):
    """Gives infinite logits once an update moved its weight further than an option says."""

    before: Tensor

    def __init__(self, furthest: float) -> None:
        super().__init__()
        self.furthest = furthest
        self.linear = nn.Linear(1, 1)
        self.register_buffer("before", self.linear.weight.detach().clone())

    def forward(self, numeric: Tensor, categorical: Tensor) -> Tensor:
        logits = self.linear(numeric[:, :1]).squeeze(1)
        if self.training:
            weight = self.linear.weight.detach()
            if (weight - self.before).abs() > self.furthest:
                logits = logits / 0
            self.before.copy_(weight)
        return logits


def overflowing(config: ModelConfig) -> nn.Module:
    return Overflowing(**config.options)


class Stalling(nn.Module):
    """Sleeps for a long time in one forward pass of one rank."""

    def __init__(self, config: ModelConfig, rank: int, step: int) -> None:
        super().__init__()
        self.network = mlp.build(config)
        self.left = step if int(os.environ["RANK"]) == rank else -1

    def forward(self, numeric: Tensor, categorical: Tensor) -> Tensor:
        if self.left == 0:
            time.sleep(1000)
        self.left -= self.training
        return self.network(numeric, categorical)


def stalling(config: ModelConfig) -> nn.Module:
    return Stalling(dataclasses.replace(config, options={}), **config.options)


class Slow(nn.Module):
    """Sleeps in every forward pass of training on one rank."""

    def __init__(self, config: ModelConfig, rank: int, seconds: float) -> None:
        super().__init__()
        self.network = mlp.build(config)
        self.seconds = seconds if int(os.environ.get("RANK", "0")) == rank else 0.0

    def forward(self, numeric: Tensor, categorical: Tensor) -> Tensor:
        if self.training:
            time.sleep(self.seconds)
        return self.network(numeric, categorical)


def slow(config: ModelConfig) -> nn.Module:
    return Slow(dataclasses.replace(config, options={}), **config.options)


def refusing(config: ModelConfig) -> nn.Module:
    """Says no, and writes down that it was asked."""
    with Path(config.options["asked"]).open("a", encoding="utf-8") as file:
        file.write("asked\n")
    raise TrainingError("there is no such layer")


class Undefined(nn.Module):
    """Gives logits that are no numbers wherever it is not trained."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.network = mlp.build(config)

    def forward(self, numeric: Tensor, categorical: Tensor) -> Tensor:
        logits = self.network(numeric, categorical)
        return logits if self.training else logits * float("nan")


def undefined(config: ModelConfig) -> nn.Module:
    return Undefined(config)


class Greedy(nn.Module):
    """Asks for more memory than any machine has, for many rows on one rank."""

    def __init__(self, config: ModelConfig, most_rows: int, rank: str) -> None:
        super().__init__()
        self.network = mlp.build(config)
        self.most_rows, self.rank = most_rows, rank

    def forward(self, numeric: Tensor, categorical: Tensor) -> Tensor:
        if os.environ["RANK"] == self.rank and len(numeric) > self.most_rows:
            torch.empty(2**50)
        return self.network(numeric, categorical)


def greedy(config: ModelConfig) -> nn.Module:
    return Greedy(dataclasses.replace(config, options={}), **config.options)


class Dying(nn.Module):
    """Ends one rank in its first forward pass, as the system does when memory runs out."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.network = mlp.build(config)

    def forward(self, numeric: Tensor, categorical: Tensor) -> Tensor:
        if os.environ["RANK"] == "1":
            os.kill(os.getpid(), signal.SIGKILL)
        return self.network(numeric, categorical)


def dying(config: ModelConfig) -> nn.Module:
    return Dying(config)


class GreedyInFloat32(nn.Module):
    """Has memory for half as many digits only."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.network = mlp.build(config)

    def forward(self, numeric: Tensor, categorical: Tensor) -> Tensor:
        if self.training and not torch.is_autocast_enabled("cpu"):
            torch.empty(2**50)
        return self.network(numeric, categorical)


def greedy_in_float32(config: ModelConfig) -> nn.Module:
    return GreedyInFloat32(config)


class SlowWithMany(nn.Module):
    """Takes long for batches of more than 16 rows."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.network = mlp.build(config)

    def forward(self, numeric: Tensor, categorical: Tensor) -> Tensor:
        time.sleep(1e-3 * len(numeric) if len(numeric) > 16 else 0)
        return self.network(numeric, categorical)


def slow_with_many(config: ModelConfig) -> nn.Module:
    return SlowWithMany(config)


class InfiniteRow(nn.Module):
    """Gives rows above a limit an infinite logit, whose gradient is finite, or that of all is kept so.

    Args:
        config: of the network beneath.
        above: limit of the first number.
        hide: let no gradient show it.
    """

    def __init__(self, config: ModelConfig, above: float, hide: bool) -> None:
        super().__init__()
        self.network = mlp.build(config)
        self.above, self.hide = above, hide

    def forward(self, numeric: Tensor, categorical: Tensor) -> Tensor:
        logits = self.network(numeric, categorical)
        if not self.training:
            return logits
        if self.hide:
            logits.register_hook(torch.nan_to_num)
        return logits + torch.where(numeric[:, 0] > self.above, torch.inf, 0.0)


def infinite_row(config: ModelConfig) -> nn.Module:
    return InfiniteRow(dataclasses.replace(config, options={}), **config.options)


class WithLayer(nn.Module):
    """A perceptron with a layer of torch's, by name, before its head."""

    def __init__(self, config: ModelConfig, layer: str) -> None:
        super().__init__()
        self.network = mlp.build(config)
        self.added = getattr(nn, layer)(1)

    def forward(self, numeric: Tensor, categorical: Tensor) -> Tensor:
        return self.added(self.network(numeric, categorical)[:, None]).squeeze(1)


def with_layer(config: ModelConfig) -> nn.Module:
    return WithLayer(dataclasses.replace(config, options={}), **config.options)


def mistaken(config: ModelConfig) -> nn.Module:
    """Raises the error of an option."""
    raise {"TypeError": TypeError, "IndexError": IndexError}[config.options["raises"]](
        "wrong index"
    )
