"""Rows with the key of another row: which one came first. Runs inside engine tasks: NumPy and Arrow only."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from pyarrow import compute

from pipeline_assets.contract.names import EARLIER, ROW_ID, SOURCE_FILE, SOURCE_LINE
from pipeline_assets.contract.rejected import sorted_positions


def unique_rows(
    rows: pa.Table, candidates: np.ndarray, key: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, dict[int, int]]:
    """Return rows to keep (sorted by row id and key), repeated ones, and repeated to the first.

    All are positions in `rows`. Hashes are sorted first; only rows whose hash occurs again are
    compared by key, and then stand in source order.
    """
    ids = rows.column(ROW_ID).to_numpy()[candidates]
    order = np.argsort(ids)
    ids, order = ids[order], candidates[order]
    same = ids[1:] == ids[:-1]
    if not same.any():
        return order, order[:0], {}
    crowded = np.zeros(len(order), dtype=bool)
    crowded[1:] |= same
    crowded[:-1] |= same
    names = [ROW_ID, *key, SOURCE_FILE, SOURCE_LINE]
    group = rows.select(names).take(pa.array(order[crowded])).combine_chunks()
    by_source, repeat, leaders = _equal_keys(group, names, key)
    order[crowded] = order[crowded][by_source]
    positions = np.flatnonzero(crowded)
    is_repeat = np.zeros(len(order), dtype=bool)
    is_repeat[positions] = repeat
    first = {
        int(order[positions[at]]): int(order[positions[leaders[at]]])
        for at in np.flatnonzero(repeat)
    }
    return order[~is_repeat], order[is_repeat], first


def taken_rows(
    rows: pa.Table, candidates: np.ndarray, taken: pa.Table, key: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the candidates whose key is taken, and for each the first row in `taken` that has it."""
    ids = rows.column(ROW_ID).take(pa.array(candidates))
    among = np.flatnonzero(_is_in(taken.column(ROW_ID), ids))
    shared = candidates[_is_in(ids, taken.column(ROW_ID).take(pa.array(among)))]
    names = [ROW_ID, *key, EARLIER, SOURCE_FILE, SOURCE_LINE]
    both = [
        table.select(names).take(pa.array(chosen))
        for table, chosen in ((taken, among), (rows, shared))
    ]
    # Rows to be judged have no `_earlier`, and nulls come last.
    order, _, leaders = _equal_keys(pa.concat_tables(both).combine_chunks(), names, key)
    late = (order >= len(among)) & (order[leaders] < len(among))
    return shared[order[late] - len(among)], among[order[leaders][late]]


def _is_in(values: pa.ChunkedArray, among: pa.ChunkedArray) -> np.ndarray:
    """By hash: sorting, as NumPy does, takes several times as long."""
    found = compute.call_function("is_in", [values], compute.SetLookupOptions(among))
    return found.to_numpy()


def _equal_keys(
    group: pa.Table, order_by: Sequence[str], key: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sort rows so that equal keys stand together.

    Returns:
        The positions of the rows in that order; then, in that order, whether a row has the key of the
        one before it, and the place of the first row with its key.
    """
    order = sorted_positions(group, order_by)
    group = group.take(order)
    equal = np.ones(max(group.num_rows - 1, 0), dtype=bool)
    for name in key:
        column = group.column(name)
        # Keys are never null here: rows without one break `nullable`.
        pairs = compute.call_function("equal", [column.slice(1), column.slice(0, len(column) - 1)])
        equal &= pairs.to_numpy()
    repeat = np.concatenate([[False], equal])[: group.num_rows]
    leaders = np.maximum.accumulate(np.where(repeat, 0, np.arange(len(repeat))))
    return order.to_numpy(), repeat, leaders
