"""The result types. Plain and JSON-safe, no heavy import: the model and the monitors carry them.

`to_dict` gives finite JSON values only (an undefined number is None), and `from_dict` restores an
equal object.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

FORMAT_VERSION = 1
"""Version of the JSON layout."""


class Category(NamedTuple):
    """One value of a categorical feature."""

    value: str
    """The text."""
    hash: int
    """xxhash64 (seed 42) of its UTF-8 bytes as int64: what the shards hold."""
    rows: int
    """Training rows with it."""


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """Rows per interval, over the sampled training rows that have a value."""

    edges: list[float]
    """Ascending, one more than counts. Values outside count in the first or last interval."""
    counts: list[int]
    """Rows per interval."""
    positives: list[int]
    """Rows with a positive label per interval."""


@dataclass(frozen=True, kw_only=True)
class Distribution:
    """The empirical distribution at up to about 1,000 points; exact at each of them.

    Where there are no more distinct values than points, all are here and it is exact everywhere;
    otherwise it is short by less than 1/1000 between points.
    """

    values: list[float]
    """Ascending values."""
    cumulative: list[float]
    """Share of values not above each."""
    rows: int
    """Sampled rows that have a value."""


@dataclass(frozen=True, kw_only=True)
class NumericStatistics:
    """One numeric feature over the training rows. None where no row defines the number."""

    name: str
    """Feature."""
    count: int
    """Rows with a value."""
    missing: int
    """Rows without."""
    mean: float | None
    """Mean."""
    std: float | None
    """Sample standard deviation (n - 1)."""
    min: float | None
    """Smallest value."""
    max: float | None
    """Largest value."""
    skewness: float | None
    """Third standardised moment, m3 / m2^1.5; None for a constant."""
    kurtosis: float | None
    """Excess kurtosis, m4 / m2^2 - 3; None for a constant."""
    zeros: int
    """Rows that are exactly zero."""
    distinct: int
    """Distinct values; exact up to 4,096, then within about 1.6 % (one standard error)."""
    quantiles: dict[str, float]
    """"0.01" … "0.99" to the quantile of the sampled rows (linear interpolation); empty if none."""
    histogram: Histogram
    """By label."""
    distribution: Distribution
    """Drift reference."""


@dataclass(frozen=True, kw_only=True)
class CategoricalStatistics:
    """One categorical feature over the training rows."""

    name: str
    """Feature."""
    count: int
    """Rows with a value."""
    missing: int
    """Rows without."""
    distinct: int
    """Distinct values; exact up to 4,096, then within about 1.6 % (one standard error)."""
    top: list[Category]
    """Most frequent first; ties by text. As many as the model's vocabulary may hold."""
    label_rates: list[float]
    """Share of positive rows of each in `top`."""
    count_error: int
    """How far the counts in `top` may fall short; 0 (exact) unless categories are very many."""


@dataclass(frozen=True, kw_only=True)
class FeatureStatistics:
    """Statistics of one feature version. Of training rows, where nothing else is said."""

    rows: dict[str, int]
    """Split to rows."""
    label_rate: dict[str, float]
    """Split to the share of positive rows."""
    row_id_sums: dict[str, int]
    """Split to the sum of `_row_id` modulo 2^64: what shards must reproduce."""
    repeated_row_ids: int
    """Rows, over all splits, whose `_row_id` an earlier row has."""
    split_overlaps: int
    """`_row_id`s that are in more than one split; a leak unless 0."""
    sample_rows: int
    """Rows that quantiles, histograms, distributions and single-feature AUCs rest on."""
    spearman_rows: int
    """Rows that the Spearman matrix rests on."""
    numeric: list[NumericStatistics]
    """In feature order."""
    categorical: list[CategoricalStatistics]
    """In feature order."""
    pearson: list[list[float | None]]
    """[F, F] over numeric features, pairs with both values; None where one is constant."""
    spearman: list[list[float | None]]
    """[F, F] likewise, of ranks."""
    single_feature_auc: dict[str, float]
    """Feature to how well it alone separates the classes, 0.5 to 1; see `statistics.separation`."""

    def numeric_of(self, name: str) -> NumericStatistics:
        """Return a numeric feature's statistics. Raises `KeyError` for an unknown one."""
        return {item.name: item for item in self.numeric}[name]

    def categorical_of(self, name: str) -> CategoricalStatistics:
        """Return a categorical feature's statistics. Raises `KeyError` for an unknown one."""
        return {item.name: item for item in self.categorical}[name]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-safe values."""
        return {"format_version": FORMAT_VERSION, **asdict(self)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "FeatureStatistics":
        """Restore from `to_dict`'s values.

        Raises:
            ValueError: for another format version.
        """
        values = dict(data)
        version = values.pop("format_version", None)
        if version != FORMAT_VERSION:
            raise ValueError(
                f"statistics have format version {version}, this program reads {FORMAT_VERSION}: "
                "materialise feature_statistics again"
            )
        values["numeric"] = [_numeric(item) for item in values["numeric"]]
        values["categorical"] = [_categorical(item) for item in values["categorical"]]
        return cls(**values)


def _numeric(data: Mapping[str, Any]) -> NumericStatistics:
    nested = {
        "histogram": Histogram(**data["histogram"]),
        "distribution": Distribution(**data["distribution"]),
    }
    return NumericStatistics(**{**data, **nested})


def _categorical(data: Mapping[str, Any]) -> CategoricalStatistics:
    return CategoricalStatistics(**{**data, "top": [Category(*item) for item in data["top"]]})
