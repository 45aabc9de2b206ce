"""Which row of a source an event matches: of its key, and valid at its time. Pure NumPy and Arrow.

A source holds each key once, or once for each `valid_from`, so an event matches one row or none.
"""

import datetime as dt
from collections.abc import Sequence
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

Positions = NDArray[np.int64]

_compute = pyarrow.compute
_EPOCH = dt.datetime(1970, 1, 1)
_MICROSECOND = dt.timedelta(microseconds=1)


class SourceIndex:
    """The rows of a source, or those of some of its keys, in an order that finds them.

    >>> user, valid_from = pa.array([7, 7, 8]), np.array([10, 20, 10])
    >>> index = SourceIndex([user], valid_from)
    >>> index.positions([pa.array([7, 7, 8, 8, 9, None])], np.array([20, 19, 9, 99, 99, 99]))
    array([ 1,  0, -1,  2, -1, -1])
    """

    def __init__(
        self, key: Sequence[pa.Array | pa.ChunkedArray], valid_from: Positions | None = None
    ) -> None:
        """Sort the rows.

        Args:
            key: columns [n], without missing values; no two rows are equal in them and `valid_from`.
            valid_from: int64 [n], microseconds since 1970 in UTC from which on each row is valid; None
                where they always are.
        """
        self._steps: list[tuple[pa.Array, Positions]] = []
        codes = np.zeros(len(key[0]), dtype=np.int64)
        for column in key:
            values = column.unique()
            pairs = codes * len(values) + _positions_in(values, column)
            known, codes = np.unique(pairs, return_inverse=True)
            self._steps.append((values, known))
        self._times = None if valid_from is None else np.unique(valid_from)
        ranked = self._with_time(codes, valid_from)
        self._order = np.argsort(ranked, kind="stable")
        self._ranked, self._codes = ranked[self._order], codes[self._order]

    def positions(
        self, key: Sequence[pa.Array | pa.ChunkedArray], times: Positions | None = None
    ) -> Positions:
        """Return int64 [m]: the position of the row that each event matches, -1 for none.

        Args:
            key: columns [m] in the order and types of the source's; an event that lacks a value of them
                matches none.
            times: int64 [m], microseconds since 1970 in UTC; needed where rows have a `valid_from`.
        """
        if not len(self._order):
            return np.full(len(key[0]), -1, dtype=np.int64)
        codes = np.zeros(len(key[0]), dtype=np.int64)
        matched = np.ones(len(codes), dtype=bool)
        for (values, known), column in zip(self._steps, key, strict=True):
            found = _positions_in(values, column)
            pairs = codes * len(values) + found
            codes = np.minimum(np.searchsorted(known, pairs), len(known) - 1)
            matched &= (found >= 0) & (known[codes] == pairs)
        at = np.searchsorted(self._ranked, self._with_time(codes, times), side="right") - 1
        matched &= (at >= 0) & (self._codes[at] == codes)
        return np.where(matched, self._order[at], -1)

    def _with_time(self, codes: Positions, times: Positions | None) -> Positions:
        """Numbers that order rows by key, then time: an event's is that of the row it matches, or between."""
        if self._times is None:
            return codes
        if times is None:
            raise ValueError("rows that are valid from some time on are matched by key and time")
        rank = np.searchsorted(self._times, times, side="right")
        return codes * (len(self._times) + 1) + rank


def instants(column: pa.Array | pa.ChunkedArray, zone: str) -> Positions:
    """Return the microseconds since 1970 in UTC, int64, of timestamps, or of the midnights of dates in `zone`.

    Raises:
        TypeError: for a column of any other type.
    """
    if pa.types.is_timestamp(column.type):
        return column.cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()).to_numpy()
    if not pa.types.is_date32(column.type):
        raise TypeError(f"a column of type {column.type} says nothing about time")
    days, rows = np.unique(column.cast(pa.int32()).to_numpy(), return_inverse=True)
    midnights = [_midnight(_EPOCH + dt.timedelta(days=day), zone) for day in days.tolist()]
    return np.array(midnights, dtype=np.int64)[rows]


def _midnight(day: dt.datetime, zone: str) -> int:
    # Not by way of a time in UTC, which the first and the last day of the calendar may not have.
    offset = day.replace(tzinfo=ZoneInfo(zone)).utcoffset() or dt.timedelta(0)
    return (day - _EPOCH - offset) // _MICROSECOND


def _positions_in(values: pa.Array, column: pa.Array | pa.ChunkedArray) -> Positions:
    """Position of each value among unique `values`, -1 for one that is missing or not among them."""
    found = _compute.call_function(
        "index_in", [column], _compute.SetLookupOptions(values, skip_nulls=True)
    )
    return found.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
