"""The truth beside generated landing files: each row's probability, under the row's id."""

from collections.abc import Iterable, Mapping

import xxhash
from fsspec.core import url_to_fs

from pipeline_assets.spec.source import Source

TRUTH_FOLDER = "_truth"
"""Hidden from ingest by its name; Parquet files whose last column is the probability."""


def true_probabilities(source: Source) -> Mapping[int, float] | None:
    """`_row_id` to true probability, for a source whose folder was generated; None for any other.

    The truth files hold the key's columns and then the probability. The row id is computed as the
    engines do: xxhash64 (XXH64, seed 42) of the key's values as text, each hash seeding the next.
    """
    import pyarrow.parquet

    if source.demo is None:
        return None
    fs, path = url_to_fs(source.uri)
    folder = f"{path.rstrip('/')}/{TRUTH_FOLDER}"
    if not fs.isdir(folder):
        return None
    found: dict[int, float] = {}
    for file in sorted(fs.glob(f"{folder}/*.parquet")):
        with fs.open(file, "rb") as stream:
            table = pyarrow.parquet.read_table(stream)
        *keys, probability = (column.to_pylist() for column in table.columns)
        found.update(zip(map(row_id, zip(*keys)), probability))
    return found


def row_id(key: Iterable[object]) -> int:
    """`xxhash64(key…)` of Spark and Sail, of the values as text, as int64.

    >>> row_id(["a"])
    -8582455328737087284
    """
    seed = 42
    for value in key:
        seed = xxhash.xxh64_intdigest(str(value).encode(), seed=seed)
    return seed - (1 << 64) if seed >> 63 else seed
