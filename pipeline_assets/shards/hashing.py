"""Category hashes: the same 64 bits in shards, in the engine's SQL and in online serving."""

from collections.abc import Iterable

import numpy as np

MISSING = 0
"""Stands for a missing category. (A text that hashes to 0 has a chance of one in 2**64.)"""

_SEED = 42  # The seed of Spark's and Sail's `xxhash64`.


def hash_categories(values: Iterable[str | None]) -> np.ndarray:
    """Hash texts to int64 [n]: XXH64, seed 42, of the UTF-8 bytes; `None` and NaN become `MISSING`.

    Equals the SQL expression `xxhash64(column)` of both engines for non-null texts.

    >>> hash_categories(["a", None])
    array([-8582455328737087284,                    0])

    Raises:
        TypeError: a value is neither text nor missing.
    """
    import xxhash  # Only tasks and callers that start from texts need it.

    known: dict[str, int] = {}
    hashes: list[int] = []
    for value in values:
        if value is None or value != value:
            hashes.append(MISSING)
            continue
        if not isinstance(value, str):
            raise TypeError(f"categories are text or None, got {value!r} ({type(value).__name__})")
        if value not in known:
            unsigned = xxhash.xxh64_intdigest(value.encode(), seed=_SEED)
            known[value] = unsigned - (1 << 64) if unsigned >> 63 else unsigned
        hashes.append(known[value])
    return np.array(hashes, dtype=np.int64)
