"""The truth beside generated landing files: each row's probability, under the row's id."""

from collections.abc import Iterable

import numpy as np
import xxhash
from fsspec.core import url_to_fs
from numpy.typing import NDArray

from pipeline_assets.demo_data.landing import landing_place
from pipeline_assets.spec.source import Source

TRUTH_FOLDER = "_truth"
"""Hidden from ingest by its name; Parquet files whose last column is the probability."""


class TrueProbabilities:
    """The probability of every generated row, found by the row's id: 16 bytes a row.

    Args:
        row_ids: int64 [n], in any order.
        probabilities: float64 [n], of the same rows.
    """

    def __init__(self, row_ids: NDArray[np.int64], probabilities: NDArray[np.float64]) -> None:
        order = np.argsort(row_ids)
        self._ids, self._probabilities = row_ids[order], probabilities[order]

    def __len__(self) -> int:
        return len(self._ids)

    def of(self, row_ids: NDArray[np.int64]) -> NDArray[np.float64]:
        """The probabilities of rows [m], NaN where none is known."""
        if not len(self):
            return np.full(len(row_ids), np.nan)
        slots = np.minimum(np.searchsorted(self._ids, row_ids), len(self) - 1)
        return np.where(self._ids[slots] == row_ids, self._probabilities[slots], np.nan)


def true_probabilities(source: Source) -> TrueProbabilities | None:
    """The true probabilities by `_row_id`, for a source whose folder was generated; None for any other.

    The truth files hold the key's columns and then the probability. The row id is computed as the
    engines do: xxhash64 (XXH64, seed 42) of the key's values as text, each hash seeding the next.
    """
    import pyarrow.parquet

    if source.demo is None:
        return None
    fs, path = url_to_fs(landing_place(source.uri))
    folder = f"{path.rstrip('/')}/{TRUTH_FOLDER}"
    if not fs.isdir(folder):
        return None
    ids, probabilities = [np.empty(0, np.int64)], [np.empty(0)]
    for file in sorted(fs.glob(f"{folder}/*.parquet")):
        with fs.open(file, "rb") as stream:
            table = pyarrow.parquet.read_table(stream)
        *keys, probability = table.columns
        rows = zip(*(column.to_pylist() for column in keys))
        ids.append(np.fromiter(map(row_id, rows), np.int64, count=table.num_rows))
        probabilities.append(probability.to_numpy().astype(np.float64))
    return TrueProbabilities(np.concatenate(ids), np.concatenate(probabilities))


def row_id(key: Iterable[object]) -> int:
    """`xxhash64(key…)` of Spark and Sail, of the values as text, as int64.

    >>> row_id(["a"])
    -8582455328737087284
    """
    seed = 42
    for value in key:
        seed = xxhash.xxh64_intdigest(str(value).encode(), seed=seed)
    return seed - (1 << 64) if seed >> 63 else seed
