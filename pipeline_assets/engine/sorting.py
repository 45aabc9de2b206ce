"""Canonical order of rows inside a task. Pure pyarrow and NumPy."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

pc: Any = pyarrow.compute  # its functions are made at import: no type checker sees them


def sorted_groups(
    table: pa.Table, group: str, order_by: Sequence[str]
) -> Iterator[tuple[int, pa.Table]]:
    """Yield each value of the integer column `group` with its rows in canonical order, without it.

    Rows are ordered by `order_by`, missing values last; where two rows tie, all other columns that
    can be ordered decide, so that the result never depends on the order of arrival.
    """
    order = pc.sort_indices(table, sort_keys=[(name, "ascending") for name in (group, *order_by)])
    if _has_ties(table.select([group, *order_by]).take(order)):
        others = [
            field.name
            for field in table.schema
            if field.name not in (group, *order_by) and not pa.types.is_nested(field.type)
        ]
        keys = [(name, "ascending") for name in (group, *order_by, *others)]
        order = pc.sort_indices(table, sort_keys=keys)
    groups = table.column(group).take(order).to_numpy()
    rows = table.drop_columns([group])
    starts = np.flatnonzero(np.r_[True, groups[1:] != groups[:-1]]) if len(groups) else []
    for start, end in zip(starts, [*starts[1:], len(groups)]):
        yield int(groups[start]), rows.take(order.slice(start, end - start))


def _has_ties(keys: pa.Table) -> bool:
    """Whether two neighbours of the sorted rows have equal keys (missing values are equal)."""
    if keys.num_rows < 2:
        return False
    tied = np.ones(keys.num_rows - 1, dtype=bool)
    for column in keys.combine_chunks().columns:
        before, after = column.slice(0, keys.num_rows - 1), column.slice(1)
        equal = pc.fill_null(pc.equal(before, after), False).to_numpy()
        missing = pc.and_(pc.is_null(before, nan_is_null=True), pc.is_null(after, nan_is_null=True))
        tied &= equal | missing.to_numpy()
        if not tied.any():
            return False
    return True
