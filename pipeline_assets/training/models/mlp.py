"""A multi-layer perceptron over standardised numbers, missing indicators and embeddings."""

from dataclasses import dataclass

from torch import Tensor, nn

from pipeline_assets.option_types import Count, Share
from pipeline_assets.training.config import ModelConfig
from pipeline_assets.training.models.encoder import Encoder, EncoderOptions
from pipeline_assets.training.models.heads import Head
from pipeline_assets.training.models.layers import RowDropout
from pipeline_assets.training.models.options import read_options


@dataclass(frozen=True, kw_only=True)
class MlpOptions(EncoderOptions):
    """Options of the factory."""

    hidden: tuple[Count, ...] = (128, 64)
    """Width of each hidden layer; empty for a linear model."""
    dropout: Share = 0.1
    """Share of units dropped after each hidden layer."""


class Mlp(Encoder):
    """Encoder and perceptron."""

    def __init__(self, config: ModelConfig, options: MlpOptions) -> None:
        super().__init__(config, options)
        width = self.encoded_width
        layers: list[nn.Module] = []
        for at, hidden in enumerate(options.hidden):
            layers += [
                nn.Linear(width, hidden),
                nn.ReLU(),
                RowDropout(options.dropout, hidden, layer=at),
            ]
            width = hidden
        self.layers = nn.Sequential(*layers, Head(width, config))
        first = next(layer for layer in self.layers if isinstance(layer, nn.Linear))
        self.mute_indicators(first.weight)

    def forward(self, numeric: Tensor, categorical: Tensor) -> Tensor:
        """Return outputs f32 [n, *output_shape] from numeric f32 [n, F] and category hashes i64 [n, C]."""
        return self.layers(self.encode(numeric, categorical))


def build(config: ModelConfig) -> nn.Module:
    """Build the model. Options: see `MlpOptions`."""
    return Mlp(config, read_options(config.options, MlpOptions, config.factory))
