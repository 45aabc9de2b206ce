"""Events in the order of entity and time, with one monotone integer key for both.

Times are int64 microseconds since 1970 in UTC, so windows have a fixed length: where clocks change, a
window of one day spans 23 or 25 hours of the local clock's day.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

pc: Any = pyarrow.compute  # its functions are made at import: no type checker sees them

_KEY_LIMIT = 2**62


def entity_codes(columns: Sequence[pa.ChunkedArray | pa.Array]) -> np.ndarray:
    """Return int64 [rows]: equal for equal entities, from zero without gaps; -1 where a part is missing."""
    codes = _codes(columns[0])
    for column in columns[1:]:
        other = _codes(column)
        missing = (codes < 0) | (other < 0)
        _, codes = np.unique(codes * (other.max(initial=0) + 1) + other, return_inverse=True)
        codes = np.where(missing, -1, codes)
        codes = _dense(codes)
    return codes


def keyed_blocks(
    codes: np.ndarray, times: np.ndarray, reach: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (positions, keys) of the rows with an entity, sorted by key: by entity, then by time.

    Subtracting up to `reach` microseconds from a key never reaches a key of the entity before. One block
    holds all rows, unless entities times microseconds exceed 62 bits (say 100,000 entities over a year
    and more): then each holds as many whole entities as fit.

    Args:
        codes: int64 [rows], see `entity_codes`.
        times: int64 [rows], microseconds.
        reach: the longest way back of a window, microseconds.
    """
    known = np.flatnonzero(codes >= 0)
    if not len(known):
        return
    first = int(times[known].min())
    span = int(times[known].max()) - first + reach + 1
    entities = int(codes[known].max()) + 1
    if span >= _KEY_LIMIT:
        raise ValueError(f"windows of {reach} µs over times {span - reach} µs apart exceed 62 bits")
    per_block = _KEY_LIMIT // span
    if entities <= per_block:
        yield _sorted_by_key(known, codes, times, span, first)
        return
    by_entity = known[np.argsort(codes[known], kind="stable")]
    starts = np.arange(0, entities, per_block)
    edges = [*np.searchsorted(codes[by_entity], starts), len(by_entity)]
    for block, (start, end) in enumerate(pairwise(edges)):
        base = int(starts[block])
        yield _sorted_by_key(by_entity[start:end], codes - base, times, span, first)


def _sorted_by_key(
    positions: np.ndarray, codes: np.ndarray, times: np.ndarray, span: int, first: int
) -> tuple[np.ndarray, np.ndarray]:
    keys = codes[positions] * span + (times[positions] - first)
    order = np.argsort(keys)
    return positions[order], keys[order]


def value_codes(column: pa.ChunkedArray | pa.Array) -> np.ndarray:
    """Return int64 [rows]: equal for equal values, -1 where missing (null or NaN)."""
    return _codes(column)


def _codes(column: pa.ChunkedArray | pa.Array) -> np.ndarray:
    if pa.types.is_floating(column.type):
        # One spelling of zero; NaN is missing.
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), pc.add(column, 0.0))
    encoded = column.dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    if isinstance(encoded, pa.ChunkedArray):  # no rows, no chunk
        return np.zeros(0, dtype=np.int64)
    return pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False).astype(np.int64)


def _dense(codes: np.ndarray) -> np.ndarray:
    """Renumber codes from zero without gaps, leaving -1 alone."""
    values, dense = np.unique(codes, return_inverse=True)
    return dense - (1 if len(values) and values[0] < 0 else 0)
