"""A residual perceptron.

After the ResNet of Gorishniy, Rubachev, Khrulkov, Babenko: "Revisiting Deep Learning Models for Tabular
Data", NeurIPS 2021, with layer norm in place of batch norm: statistics of a batch would depend on how
its rows are spread over ranks.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline_assets.option_types import Count, Positive, Share
from pipeline_assets.training.config import ModelConfig, TrainingError
from pipeline_assets.training.models.encoder import Encoder, EncoderOptions
from pipeline_assets.training.models.heads import Head
from pipeline_assets.training.models.layers import RowDropout
from pipeline_assets.training.models.options import read_options

_LARGEST = 1e15
"""Norms square their input, which must not overflow, whatever a row holds."""


@dataclass(frozen=True, kw_only=True)
class ResnetOptions(EncoderOptions):
    """Options of the factory."""

    width: Count = 128
    """Width of the residual stream."""
    blocks: Count = 3
    """Residual blocks."""
    hidden_factor: Positive = 2.0
    """Width of a block's hidden layer, as a multiple of `width`."""
    dropout: Share = 0.1
    """Share of a block's hidden units dropped."""
    residual_dropout: Share = 0.0
    """Share of units dropped of what a block adds to the stream."""

    def __post_init__(self) -> None:
        if self.hidden_width < 1:
            raise TrainingError(
                f"model options width {self.width} and hidden_factor {self.hidden_factor} leave a block without "
                "hidden units: raise one"
            )

    @property
    def hidden_width(self) -> int:
        """Units of a block's hidden layer."""
        return int(self.width * self.hidden_factor)


class ResidualBlock(nn.Module):
    """[n, width] -> [n, width]: x + dropout(linear(dropout(relu(linear(norm(x))))))."""

    def __init__(self, options: ResnetOptions, at: int) -> None:
        super().__init__()
        width, hidden = options.width, options.hidden_width
        self.norm = nn.LayerNorm(width)
        self.first = nn.Linear(width, hidden)
        self.dropout = RowDropout(options.dropout, hidden, layer=2 * at)
        self.second = nn.Linear(hidden, width)
        self.residual_dropout = RowDropout(options.residual_dropout, width, layer=2 * at + 1)

    def forward(self, stream: Tensor) -> Tensor:
        """Add the block's part to the stream."""
        hidden = self.dropout(torch.relu(self.first(self.norm(stream))))
        return stream + self.residual_dropout(self.second(hidden))


class Resnet(Encoder):
    """Encoder, a linear layer, residual blocks, and norm, ReLU and head."""

    def __init__(self, config: ModelConfig, options: ResnetOptions) -> None:
        super().__init__(config, options)
        self.first = nn.Linear(self.encoded_width, options.width)
        self.blocks = nn.ModuleList(ResidualBlock(options, at) for at in range(options.blocks))
        self.norm = nn.LayerNorm(options.width)
        self.head = Head(options.width, config)
        self.mute_indicators(self.first.weight)

    def forward(self, numeric: Tensor, categorical: Tensor) -> Tensor:
        """Return outputs f32 [n, *output_shape] from numeric f32 [n, F] and category hashes i64 [n, C]."""
        stream = self.first(self.encode(numeric, categorical).clamp(-_LARGEST, _LARGEST))
        for block in self.blocks:
            stream = block(stream)
        return self.head(torch.relu(self.norm(stream)))


def build(config: ModelConfig) -> nn.Module:
    """Build the model. Options: see `ResnetOptions`."""
    return Resnet(config, read_options(config.options, ResnetOptions, config.factory))
