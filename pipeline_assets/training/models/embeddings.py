"""Numbers and categories as vectors, one embedding per feature.

Numeric embeddings after Gorishniy, Rubachev, Babenko: "On Embeddings for Numerical Features in Tabular
Deep Learning", NeurIPS 2022 (there PLE and PLR), with a linear map and ReLU of its own per feature.
"""

import math

import torch
from torch import Tensor, nn

from pipeline_assets.training.config import NumericFeature
from pipeline_assets.training.preprocessor import FIRST_KNOWN


class CategoryEmbeddings(nn.Module):
    """One embedding table per categorical feature, [n, C] -> [n, sum of widths].

    Rows for missing and unknown categories start at zero, so that a category never seen in training
    moves nothing instead of adding noise.
    """

    def __init__(self, cardinalities: list[int], width: int) -> None:
        super().__init__()
        widths = [min(width, (cardinality + 1) // 2) for cardinality in cardinalities]
        self.tables = nn.ModuleList(map(nn.Embedding, cardinalities, widths))
        self.width = sum(widths)
        for table in self.tables:
            assert isinstance(table, nn.Embedding)
            nn.init.normal_(table.weight, std=table.embedding_dim**-0.5)
            nn.init.zeros_(table.weight[:FIRST_KNOWN])

    def forward(self, categories: Tensor) -> Tensor:
        """Embed indices i64 [n, C]."""
        parts = [table(categories[:, at]) for at, table in enumerate(self.tables)]
        return (
            torch.cat(parts, dim=1) if parts else categories.new_zeros(len(categories), 0).float()
        )


class PiecewiseLinear(nn.Module):
    """[n, F] imputed raw values -> [n, F * d]: position within quantile bins, then a linear map."""

    left: Tensor
    inverse_width: Tensor

    def __init__(self, features: tuple[NumericFeature, ...], bins: int, width: int) -> None:
        super().__init__()
        left = torch.zeros(len(features), bins)
        inverse_width = torch.zeros(len(features), bins)
        for at, feature in enumerate(features):
            edges = _thinned(feature.edges, bins + 1)
            count = len(edges) - 1
            if count < 1:
                continue
            ends = torch.tensor(edges, dtype=torch.float64)
            left[at, :count] = ends[:-1].float()
            inverse_width[at, :count] = (1 / (ends[1:] - ends[:-1])).float()
        self.register_buffer("left", left)
        self.register_buffer("inverse_width", inverse_width)
        self.weight = nn.Parameter(torch.empty(len(features), bins, width))
        self.bias = nn.Parameter(torch.zeros(len(features), width))
        nn.init.uniform_(self.weight, -(bins**-0.5), bins**-0.5)

    def forward(self, raw: Tensor) -> Tensor:
        """Encode f32 [n, F]; each bin gives 0 below, 1 above and the share within."""
        share = ((raw[:, :, None] - self.left) * self.inverse_width).clamp(0, 1)
        hidden = torch.einsum("nfb,fbd->nfd", share, self.weight) + self.bias
        return torch.relu(hidden).flatten(1)


class Periodic(nn.Module):
    """[n, F] standardised values -> [n, F * d]: sines and cosines of learned frequencies, mapped."""

    def __init__(self, features: int, frequencies: int, scale: float, width: int) -> None:
        super().__init__()
        self.frequency = nn.Parameter(torch.randn(features, frequencies) * scale)
        self.weight = nn.Parameter(torch.empty(features, 2 * frequencies, width))
        self.bias = nn.Parameter(torch.zeros(features, width))
        nn.init.uniform_(self.weight, -((2 * frequencies) ** -0.5), (2 * frequencies) ** -0.5)

    def forward(self, scaled: Tensor) -> Tensor:
        """Encode f32 [n, F]."""
        angle = 2 * math.pi * scaled[:, :, None] * self.frequency
        waves = torch.cat([angle.sin(), angle.cos()], dim=2)
        return torch.relu(torch.einsum("nfw,fwd->nfd", waves, self.weight) + self.bias).flatten(1)


def _thinned(edges: tuple[float, ...], at_most: int) -> list[float]:
    """Edges at equal steps of their (quantile) order, ends kept, distinct as float32."""
    distinct = sorted({float(torch.tensor(edge, dtype=torch.float32)) for edge in edges})
    if len(distinct) <= at_most:
        return distinct
    steps = [round(at * (len(distinct) - 1) / (at_most - 1)) for at in range(at_most)]
    return [distinct[step] for step in steps]
