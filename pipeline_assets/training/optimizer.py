"""The optimiser and which parameters decay."""

import torch
from torch import nn


def build_optimizer(network: nn.Module, rate: float, decay: float) -> torch.optim.AdamW:
    """AdamW; weight matrices and embeddings decay, biases and adapters do not."""
    decayed, plain = [], []
    for name, parameter in network.named_parameters():
        is_weight = name.endswith("weight") and parameter.ndim >= 2
        (decayed if is_weight else plain).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=rate, fused=True)
