"""A multi-layer perceptron over standardised numbers, missing indicators and category embeddings."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline_assets.training.config import ModelConfig
from pipeline_assets.training.models.layers import CategoryEmbeddings, RowDropout
from pipeline_assets.training.models.options import read_options
from pipeline_assets.training.preprocessor import Preprocessor


@dataclass(frozen=True, kw_only=True)
class MlpOptions:
    """Options of the factory."""

    hidden: tuple[int, ...] = (128, 64)
    """Width of each hidden layer."""
    dropout: float = 0.1
    """Share of units dropped after each hidden layer."""
    embedding_dim: int = 8
    """Largest width of a category embedding."""


class Mlp(nn.Module):
    """Preprocessor, embeddings and perceptron."""

    def __init__(self, config: ModelConfig, options: MlpOptions) -> None:
        super().__init__()
        self.preprocessor = Preprocessor(config.preprocessor)
        self.embeddings = CategoryEmbeddings(self.preprocessor.cardinalities, options.embedding_dim)
        numeric = len(config.preprocessor.numeric)
        width = 2 * numeric + self.embeddings.width
        layers: list[nn.Module] = []
        for at, hidden in enumerate(options.hidden):
            layers += [
                nn.Linear(width, hidden),
                nn.ReLU(),
                RowDropout(options.dropout, hidden, layer=at),
            ]
            width = hidden
        self.layers = nn.Sequential(*layers, nn.Linear(width, 1))
        # Indicators start without effect and keep none where training never has a missing value.
        first = next(layer for layer in self.layers if isinstance(layer, nn.Linear))
        nn.init.zeros_(first.weight[:, numeric : 2 * numeric])

    def forward(self, numeric: Tensor, categorical: Tensor) -> Tensor:
        """Return logits f32 [n] from numeric f32 [n, F] and category hashes i64 [n, C]."""
        scaled, missing, categories = self.preprocessor(numeric, categorical)
        joined = torch.cat([scaled, missing, self.embeddings(categories)], dim=1)
        return self.layers(joined).squeeze(1)


def build(config: ModelConfig) -> nn.Module:
    """Build the model. Options: see `MlpOptions`."""
    return Mlp(config, read_options(config.options, MlpOptions, config.factory))
