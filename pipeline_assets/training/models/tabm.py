"""A parameter-efficient ensemble: members share weights and differ by cheap adapters.

After TabM (Gorishniy, Kotelnikov, Babenko: "TabM: Advancing Tabular Deep Learning with
Parameter-Efficient Ensembling", ICLR 2025), written anew: BatchEnsemble layers
y_m = ((x * r_m) W) * s_m + b_m, where only the first r is random (signs) and all other r and s start
at one; each member has its own output layer and its own loss. Numbers enter through piecewise-linear
encodings with a learned linear map per feature ("On Embeddings for Numerical Features in Tabular
Deep Learning", NeurIPS 2022, here beside the standardised value), or through periodic ones.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from pipeline_assets.training.config import ModelConfig, NumericFeature, TrainingError
from pipeline_assets.training.models.layers import CategoryEmbeddings, RowDropout
from pipeline_assets.training.models.options import read_options
from pipeline_assets.training.preprocessor import Preprocessor


@dataclass(frozen=True, kw_only=True)
class TabmOptions:
    """Options of the factory."""

    members: int = 16
    """Members of the ensemble."""
    hidden: tuple[int, ...] = (128, 128)
    """Width of each hidden layer."""
    dropout: float = 0.1
    """Share of units dropped after each hidden layer, per member."""
    embedding_dim: int = 8
    """Largest width of a category embedding."""
    numeric_embedding: Literal["piecewise_linear", "periodic", "none"] = "piecewise_linear"
    """How numbers enter; piecewise_linear needs the edges of the statistics."""
    numeric_embedding_dim: int = 8
    """Width of a number's embedding."""
    bins: int = 16
    """Most bins of the piecewise-linear encoding."""
    frequencies: int = 16
    """Frequencies of the periodic encoding."""
    frequency_scale: float = 0.1
    """Standard deviation of the initial frequencies."""


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


class BatchEnsembleLinear(nn.Module):
    """One weight for all members, with adapters: [n, k, in] -> [n, k, out]."""

    def __init__(self, members: int, inputs: int, outputs: int, *, random_signs: bool) -> None:
        super().__init__()
        bound = inputs**-0.5
        self.weight = nn.Parameter(torch.empty(outputs, inputs).uniform_(-bound, bound))
        signs = torch.randint(0, 2, (members, inputs)) * 2.0 - 1
        self.r = nn.Parameter(signs if random_signs else torch.ones(members, inputs))
        self.s = nn.Parameter(torch.ones(members, outputs))
        self.bias = nn.Parameter(torch.empty(members, outputs).uniform_(-bound, bound))

    def forward(self, hidden: Tensor) -> Tensor:
        """Map [n, k, in], or [n, 1, in] shared by all members."""
        return (hidden * self.r) @ self.weight.T * self.s + self.bias


class Tabm(nn.Module):
    """Preprocessor, embeddings, and an ensemble of perceptrons that share weights."""

    def __init__(self, config: ModelConfig, options: TabmOptions) -> None:
        super().__init__()
        features, members = config.preprocessor.numeric, options.members
        self.preprocessor = Preprocessor(config.preprocessor)
        self.embeddings = CategoryEmbeddings(self.preprocessor.cardinalities, options.embedding_dim)
        self.piecewise = self.periodic = None
        width = 2 * len(features) + self.embeddings.width
        if options.numeric_embedding == "piecewise_linear":
            self.piecewise = PiecewiseLinear(features, options.bins, options.numeric_embedding_dim)
        elif options.numeric_embedding == "periodic":
            self.periodic = Periodic(
                len(features),
                options.frequencies,
                options.frequency_scale,
                options.numeric_embedding_dim,
            )
        elif options.numeric_embedding != "none":
            raise TrainingError(
                f"model option numeric_embedding is {options.numeric_embedding!r}; "
                "known: piecewise_linear, periodic, none"
            )
        if options.numeric_embedding != "none":
            width += len(features) * options.numeric_embedding_dim
        self.layers = nn.ModuleList()
        self.dropouts = nn.ModuleList()
        for at, hidden in enumerate(options.hidden):
            self.layers.append(BatchEnsembleLinear(members, width, hidden, random_signs=at == 0))
            self.dropouts.append(RowDropout(options.dropout, members * hidden, layer=at))
            width = hidden
        self.head = nn.Parameter(torch.empty(members, width).uniform_(-(width**-0.5), width**-0.5))
        self.head_bias = nn.Parameter(torch.zeros(members))
        # Indicators start without effect and keep none where training never has a missing value.
        first = self.layers[0]
        assert isinstance(first, BatchEnsembleLinear)
        nn.init.zeros_(first.weight[:, len(features) : 2 * len(features)])

    def forward(self, numeric: Tensor, categorical: Tensor) -> Tensor:
        """Return logits f32 [n, members] from numeric f32 [n, F] and category hashes i64 [n, C]."""
        scaled, missing, categories = self.preprocessor(numeric, categorical)
        parts = [scaled, missing, self.embeddings(categories)]
        if self.piecewise is not None:
            parts.append(self.piecewise(self.preprocessor.impute(numeric)[0]))
        if self.periodic is not None:
            parts.append(self.periodic(scaled))
        hidden = torch.cat(parts, dim=1)[:, None, :]
        for layer, dropout in zip(self.layers, self.dropouts):
            hidden = dropout(torch.relu(layer(hidden)))
        return (hidden * self.head).sum(2) + self.head_bias


def _thinned(edges: tuple[float, ...], at_most: int) -> list[float]:
    """Edges at equal steps of their (quantile) order, ends kept, distinct as float32."""
    distinct = sorted({float(torch.tensor(edge, dtype=torch.float32)) for edge in edges})
    if len(distinct) <= at_most:
        return distinct
    steps = [round(at * (len(distinct) - 1) / (at_most - 1)) for at in range(at_most)]
    return [distinct[step] for step in steps]


def build(config: ModelConfig) -> nn.Module:
    """Build the model. Options: see `TabmOptions`."""
    options = read_options(config.options, TabmOptions, config.factory)
    if options.members < 1 or not options.hidden:
        raise TrainingError("TabM needs at least one member and one hidden layer")
    return Tabm(config, options)
