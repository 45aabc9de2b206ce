"""Layers that the models share; embeddings have a file of their own."""

import torch
from torch import Tensor, nn


class RowDropout(nn.Module):
    """Dropout whose mask is a function of (row, step, layer, unit), not of a generator's state.

    A row's mask is therefore the same on any rank, for any number of ranks and after a resume. The
    trainer sets the rows' keys with `set_row_keys` before each step; without keys, as in evaluation,
    it does nothing. The hash is a 32-bit multiply-xorshift over row key xor unit key.
    """

    unit: Tensor

    def __init__(self, share: float, units: int, layer: int) -> None:
        super().__init__()
        self.share = share
        self.keys: Tensor | None = None
        generator = torch.Generator().manual_seed(0x5EED + layer)
        unit = torch.randint(-(2**31), 2**31, (units,), generator=generator).to(torch.int32)
        self.register_buffer("unit", unit, persistent=False)

    def forward(self, hidden: Tensor) -> Tensor:
        """Zero units of [n, …] (`units` values per row) and scale up the rest."""
        if not self.training or self.share == 0 or self.keys is None:
            return hidden
        mixed = self.keys[:, None] ^ self.unit
        mixed = mixed * 0x7FEB352D
        mixed = mixed ^ ((mixed >> 15) & 0x1FFFF)  # shifts of int32 extend the sign
        mixed = mixed * -0x7B935975  # 0x846CA68B as int32
        mixed = mixed ^ ((mixed >> 16) & 0xFFFF)
        limit = int((self.share - 0.5) * 2**32)
        return hidden * (mixed >= limit).view(hidden.shape) * (1 / (1 - self.share))


def set_row_keys(model: nn.Module, row_id: Tensor, step: int, seed: int) -> None:
    """Give every `RowDropout` the keys of a step: int32 [n] from row ids i64 [n], step and seed."""
    # SplitMix64's finaliser; int64 products wrap as unsigned ones do.
    mixed = row_id ^ ((step + 1) * 0x9E3779B97F4A7C15 + seed * 0xD1B54A32D192ED03) % 2**63
    mixed = (mixed ^ ((mixed >> 30) & (2**34 - 1))) * (0xBF58476D1CE4E5B9 - 2**64)
    mixed = (mixed ^ ((mixed >> 27) & (2**37 - 1))) * (0x94D049BB133111EB - 2**64)
    keys = (mixed >> 32).to(torch.int32)
    for module in model.modules():
        if isinstance(module, RowDropout):
            module.keys = keys
