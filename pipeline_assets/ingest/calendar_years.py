"""Rows of columnar files whose dates and timestamps are outside of the years 1 to 9999.

Such values are written by mistake (milliseconds taken for seconds), and neither Python nor the casting
rules of text have them: their rows are malformed, with what they say.
"""

# pyright: reportAttributeAccessIssue=false
# (the functions of pyarrow.compute are made at import, type checkers do not see them)
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline_assets.ingest.batch import Malformed


def beyond_years(
    table: pa.Table, names: Sequence[str], types: Sequence[pa.DataType], timezone: str
) -> np.ndarray | None:
    """Return bool [rows], true where a value is outside of the years; None where all are inside.

    Args:
        table: rows of a file.
        names: its columns to look at.
        types: the raw type of each; only dates and timestamps matter.
        timezone: of timestamps without an offset. Where it is not UTC, the first and the last year are
            outside as well, so that they stay within years in UTC.
    """
    found = None
    for name, kind in zip(names, types, strict=True):
        column = table.column(name)
        if not (pa.types.is_timestamp(kind) or pa.types.is_date32(kind)):
            continue
        unit = _unit(column.type)
        if unit == "ns":
            continue  # reaches from 1677 to 2262
        zoned = pa.types.is_timestamp(kind) and column.type.tz is None and timezone != "UTC"
        first, last = ("0002", "9999") if zoned else ("0001", "10000")
        low, high = (
            np.datetime64(f"{year}-01-01", unit).astype(np.int64) for year in (first, last)
        )
        numbers = _numbers(column)
        extremes = pc.min_max(numbers).as_py()
        if extremes["min"] is None or (low <= extremes["min"] and extremes["max"] < high):
            continue
        outside = pc.or_(pc.less(numbers, int(low)), pc.greater_equal(numbers, int(high)))
        outside = pc.fill_null(outside, False).to_numpy()
        found = outside if found is None else found | outside
    return found


def malformed_rows(rows: pa.Table, names: Sequence[str], lines: Sequence[int]) -> list[Malformed]:
    """Return the rows as malformed records: JSON of the columns `names`."""
    values = [_values(rows.column(name)) for name in names]
    return [
        Malformed(
            line=line,
            reason="beyond the years 1 to 9999",
            text=json.dumps(
                dict(zip(names, row, strict=True)), ensure_ascii=False, default=str, allow_nan=True
            ),
        )
        for line, row in zip(lines, zip(*values, strict=True), strict=True)
    ]


def _values(column: pa.ChunkedArray) -> list[Any]:
    if not (pa.types.is_timestamp(column.type) or pa.types.is_date32(column.type)):
        return column.to_pylist()
    unit = _unit(column.type)
    return [
        None if number is None else str(np.datetime64(number, unit))
        for number in _numbers(column).to_pylist()
    ]


def _numbers(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Units since 1970."""
    whole = pa.int32() if pa.types.is_date32(column.type) else pa.int64()
    return column.cast(whole).cast(pa.int64())


def _unit(kind: pa.DataType) -> str:
    return "D" if pa.types.is_date32(kind) else kind.unit
