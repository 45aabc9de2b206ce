"""A parameter-efficient ensemble: members share weights and differ by cheap adapters.

After TabM (Gorishniy, Kotelnikov, Babenko: "TabM: Advancing Tabular Deep Learning with
Parameter-Efficient Ensembling", ICLR 2025), written anew: BatchEnsemble layers
y_m = ((x * r_m) W) * s_m + b_m, where only the first r is random (signs) and all other r and s start
at one; each member has its own output layer and its own loss.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from pipeline_assets.option_types import Count, Counts, Share
from pipeline_assets.training.config import ModelConfig
from pipeline_assets.training.models.encoder import Encoder, EncoderOptions
from pipeline_assets.training.models.layers import RowDropout
from pipeline_assets.training.models.options import read_options


@dataclass(frozen=True, kw_only=True)
class TabmOptions(EncoderOptions):
    """Options of the factory."""

    members: Count = 16
    """Members of the ensemble."""
    hidden: Counts = (128, 128)
    """Width of each hidden layer."""
    dropout: Share = 0.1
    """Share of units dropped after each hidden layer, per member."""
    numeric_embedding: Literal["piecewise_linear", "periodic", "none"] = "piecewise_linear"
    """What numbers enter as, beside their standardised value; piecewise_linear needs the edges of the statistics."""


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


class Tabm(Encoder):
    """Encoder, and an ensemble of perceptrons that share weights."""

    def __init__(self, config: ModelConfig, options: TabmOptions) -> None:
        super().__init__(config, options)
        members, shape, width = options.members, config.output_shape, self.encoded_width
        self.layers = nn.ModuleList()
        self.dropouts = nn.ModuleList()
        for at, hidden in enumerate(options.hidden):
            self.layers.append(BatchEnsembleLinear(members, width, hidden, random_signs=at == 0))
            self.dropouts.append(RowDropout(options.dropout, members * hidden, layer=at))
            width = hidden
        bound = width**-0.5
        self.head = nn.Parameter(torch.empty(members, *shape, width).uniform_(-bound, bound))
        self.head_bias = nn.Parameter(torch.zeros(members, *shape))
        first = self.layers[0]
        assert isinstance(first, BatchEnsembleLinear)
        self.mute_indicators(first.weight)

    def forward(self, numeric: Tensor, categorical: Tensor) -> Tensor:
        """Return outputs f32 [n, members, *output_shape] from numeric f32 [n, F] and hashes i64 [n, C]."""
        hidden = self.encode(numeric, categorical)[:, None, :]
        for layer, dropout in zip(self.layers, self.dropouts):
            hidden = dropout(torch.relu(layer(hidden)))
        if self.head.ndim == 2:
            return (hidden * self.head).sum(2) + self.head_bias
        return torch.einsum("nmw,mow->nmo", hidden, self.head) + self.head_bias


def build(config: ModelConfig) -> nn.Module:
    """Build the model. Options: see `TabmOptions`."""
    return Tabm(config, read_options(config.options, TabmOptions, config.factory))
