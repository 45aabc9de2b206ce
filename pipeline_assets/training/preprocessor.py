"""Training statistics as a torch module: the first layer of every model, in training and serving."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pipeline_assets.training.config import PreprocessorConfig

MISSING, UNKNOWN, FIRST_KNOWN = 0, 1, 2
"""Category indices: missing, not in the vocabulary, and the first of the vocabulary."""


_SMALLEST_STD = 1 / torch.finfo(torch.float32).max


class Preprocessed(NamedTuple):
    """What models compute with."""

    numeric: Tensor
    """f32 [n, F]: imputed by the median, then standardised."""
    missing: Tensor
    """f32 [n, F]: 1 where the value was missing."""
    categories: Tensor
    """i64 [n, C]: MISSING, UNKNOWN, or the position in the vocabulary from FIRST_KNOWN on."""


class Preprocessor(nn.Module):
    """Imputes, standardises and looks up; holds no parameters, only buffers.

    Values that are not finite count as missing. A feature without values or without variation in
    training comes out as 0: it can neither help nor harm.
    """

    mean: Tensor
    scale: Tensor
    median: Tensor
    vocabulary: Tensor

    def __init__(self, config: PreprocessorConfig) -> None:
        super().__init__()
        mean = [_or(feature.mean, 0.0) for feature in config.numeric]
        std = [_or(feature.std, 0.0) for feature in config.numeric]
        median = [_or(feature.median, centre) for feature, centre in zip(config.numeric, mean)]
        # A standard deviation below float32's resolution at the mean is rounding, not variation; nor has
        # float32 a finite number to scale one below about 3e-39 with.
        constant = [s <= max(1e-6 * abs(m), _SMALLEST_STD) for s, m in zip(std, mean)]
        scale = [0.0 if still else 1 / s for still, s in zip(constant, std)]
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float32))
        self.register_buffer("median", torch.tensor(median, dtype=torch.float32))
        self.sizes = [len(set(feature.vocabulary)) for feature in config.categorical]
        hashes = [h for feature in config.categorical for h in sorted(set(feature.vocabulary))]
        self.register_buffer("vocabulary", torch.tensor(hashes, dtype=torch.int64))

    @property
    def cardinalities(self) -> list[int]:
        """Number of category indices of each categorical feature."""
        return [FIRST_KNOWN + size for size in self.sizes]

    def impute(self, numeric: Tensor) -> tuple[Tensor, Tensor]:
        """Return values with the median for missing ones, f32 [n, F], and their mask, bool [n, F]."""
        missing = ~torch.isfinite(numeric)
        return torch.where(missing, self.median, numeric), missing

    def forward(self, numeric: Tensor, categorical: Tensor) -> Preprocessed:
        """Preprocess numeric f32 [n, F] and category hashes i64 [n, C]."""
        imputed, missing = self.impute(numeric)
        scaled = (imputed - self.mean) * self.scale
        return Preprocessed(scaled, missing.to(scaled.dtype), self._look_up(categorical))

    def _look_up(self, categorical: Tensor) -> Tensor:
        columns = []
        for at, vocabulary in enumerate(self.vocabulary.split(self.sizes)):
            hashes = categorical[:, at].contiguous()
            if len(vocabulary):
                position = torch.searchsorted(vocabulary, hashes).clamp_(max=len(vocabulary) - 1)
                known = vocabulary[position] == hashes
                index = torch.where(known, position + FIRST_KNOWN, UNKNOWN)
            else:
                index = torch.full_like(hashes, UNKNOWN)
            columns.append(torch.where(hashes == 0, MISSING, index))
        return torch.stack(columns, dim=1) if columns else categorical


def _or(value: float | None, default: float) -> float:
    return default if value is None or not math.isfinite(value) else value
