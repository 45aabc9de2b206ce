"""How baselines see the features: numbers and categories of the training rows' statistics.

The model has its own `Preprocessor`; this holds the same numbers for the predictors beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pipeline_assets.spec import UseCase
    from pipeline_assets.statistics import FeatureStatistics


@dataclass(frozen=True, kw_only=True)
class NumericEncoding:
    """A numeric feature and its statistics over the training rows."""

    name: str
    mean: float
    std: float
    median: float


@dataclass(frozen=True, kw_only=True)
class CategoricalEncoding:
    """A categorical feature and its vocabulary: the training rows' most frequent values."""

    name: str
    values: tuple[str, ...]
    hashes: tuple[int, ...]

    def codes(self, hashed: NDArray[np.int64]) -> NDArray[np.int64]:
        """Hashes [rows] to codes [rows]: position in the vocabulary, then its length for a value
        outside it, and -1 for missing."""
        known = np.asarray(self.hashes, dtype=np.int64)
        if not known.size:
            return np.where(hashed == 0, -1, 0)
        order = np.argsort(known)
        slot = np.minimum(np.searchsorted(known[order], hashed), known.size - 1)
        found = known[order][slot] == hashed
        return np.where(hashed == 0, -1, np.where(found, order[slot], known.size))

    def value(self, code: int) -> str:
        """What a code stands for, for people."""
        if code < 0:
            return "missing"
        return self.values[code] if code < len(self.values) else "other values"


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """All features, in the order of the shards' columns."""

    numeric: tuple[NumericEncoding, ...]
    categorical: tuple[CategoricalEncoding, ...]

    @property
    def names(self) -> list[str]:
        """Numeric features, then categorical ones."""
        return [feature.name for feature in (*self.numeric, *self.categorical)]

    @classmethod
    def of(cls, statistics: FeatureStatistics, use_case: UseCase) -> Encoding:
        """From the statistics of the training rows; vocabularies are as long as the model's."""
        numeric = {feature.name: feature for feature in statistics.numeric}
        categorical = {feature.name: feature for feature in statistics.categorical}
        declared = use_case.features
        limit = use_case.model.max_vocabulary
        return cls(
            numeric=tuple(
                NumericEncoding(
                    name=name,
                    mean=_number(numeric[name].mean, 0.0),
                    std=_number(numeric[name].std, 1.0) or 1.0,
                    median=_number(numeric[name].quantiles.get("0.5"), 0.0),
                )
                for name in declared.numeric_names
            ),
            categorical=tuple(
                CategoricalEncoding(
                    name=feature.name,
                    values=tuple(top[0] for top in categorical[feature.name].top[:limit]),
                    hashes=tuple(int(top[1]) for top in categorical[feature.name].top[:limit]),
                )
                for feature in declared.categorical
            ),
        )


def _number(value: float | None, otherwise: float) -> float:
    """A statistic, or its stand-in where the feature had no values at all in training."""
    return otherwise if value is None or not np.isfinite(value) else float(value)
