"""The first part of every model: from a row's values to one vector."""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from pipeline_assets.option_types import Bounds, Count, Positive
from pipeline_assets.training.config import ModelConfig
from pipeline_assets.training.models.embeddings import (
    CategoryEmbeddings,
    Periodic,
    PiecewiseLinear,
)
from pipeline_assets.training.preprocessor import Preprocessor


@dataclass(frozen=True, kw_only=True)
class EncoderOptions:
    """Options that all models have."""

    embedding_dim: Count = 8
    """Largest width of a category embedding."""
    numeric_embedding: Literal["piecewise_linear", "periodic", "none"] = "none"
    """What numbers enter as, beside their standardised value; piecewise_linear needs the edges of the statistics."""
    numeric_embedding_dim: Count = 8
    """Width of a number's embedding."""
    bins: Annotated[int, Bounds(at_least=2)] = 16
    """Most bins of the piecewise-linear encoding."""
    frequencies: Count = 16
    """Frequencies of the periodic encoding."""
    frequency_scale: Positive = 0.1
    """Standard deviation of the initial frequencies."""


class Encoder(nn.Module):
    """Base of the models: preprocessor and embeddings.

    `encode` gives f32 [n, encoded_width]: standardised numbers [n, F], missing indicators [n, F],
    category embeddings [n, sum of widths], and numeric embeddings [n, F * numeric_embedding_dim].
    """

    def __init__(self, config: ModelConfig, options: EncoderOptions) -> None:
        super().__init__()
        features = config.preprocessor.numeric
        width = options.numeric_embedding_dim
        self.preprocessor = Preprocessor(config.preprocessor)
        self.embeddings = CategoryEmbeddings(self.preprocessor.cardinalities, options.embedding_dim)
        self.piecewise = self.periodic = None
        if options.numeric_embedding == "piecewise_linear":
            self.piecewise = PiecewiseLinear(features, options.bins, width)
        elif options.numeric_embedding == "periodic":
            self.periodic = Periodic(
                len(features), options.frequencies, options.frequency_scale, width
            )
        self._numeric = len(features)
        self.encoded_width = 2 * len(features) + self.embeddings.width
        if options.numeric_embedding != "none":
            self.encoded_width += len(features) * width

    def encode(self, numeric: Tensor, categorical: Tensor) -> Tensor:
        """Encode numeric f32 [n, F] and category hashes i64 [n, C]."""
        scaled, missing, categories = self.preprocessor(numeric, categorical)
        parts = [scaled, missing, self.embeddings(categories)]
        if self.piecewise is not None:
            parts.append(self.piecewise(self.preprocessor.impute(numeric)[0]))
        if self.periodic is not None:
            parts.append(self.periodic(scaled))
        return torch.cat(parts, dim=1)

    def mute_indicators(self, weight: Tensor) -> None:
        """Zero the missing indicators' columns of the first layer's weight [out, encoded_width].

        Indicators start without effect, and keep none where training never has a missing value.
        """
        nn.init.zeros_(weight[:, self._numeric : 2 * self._numeric])
