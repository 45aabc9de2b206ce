"""Rolling features of a table of rows: the one function that everything else here serves.

Semantics, for a target row of entity e at time t and a window of some length and delay:

- Events are the rows of entity e for which the filter is true, in `(t - delay - length, t - delay]`.
  Those of the same instant belong to it when the delay is zero, the row itself included.
- Rows may come in any order; rows of equal time are equal in rank. The result is a function of the
  window's events alone: not of their order, of other entities, or of how much older history there is.
- Missing values are left out. Without a value in the window count and distinct_count are 0, the other
  functions give `empty`. std of one value, and time_since_last without an earlier event, are NaN.
- A row without an entity is no event and has no features: all are NaN, count too.

Costs O(n log n) in rows and does not depend on the windows' lengths. Memory: about 200 bytes a row.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pipeline_assets.features.rolling.aggregates import (
    Values,
    distinct_counts,
    following_events,
)
from pipeline_assets.features.rolling.entities import entity_codes, keyed_blocks, value_codes
from pipeline_assets.features.rolling.windows import Windows

if TYPE_CHECKING:
    import pyarrow as pa

    from pipeline_assets.features.rolling.plan import RollingGroup, Window

TIME = "_time"
"""Column of the event's time: int64 microseconds since 1970, UTC."""


def rolling_features(rows: pa.Table, group: RollingGroup, targets: np.ndarray) -> np.ndarray:
    """Return the features of some rows of a table.

    Args:
        rows: `TIME` and the group's columns: entities of any type, values float64 (any type for
            distinct_count), `counted` boolean.
        group: what to compute.
        targets: int64 [m], positions of the rows that get features; the others are events only.

    Returns:
        float32 [features, m], NaN for missing; infinite where a window holds an infinite value.
    """
    times = rows.column(TIME).to_numpy()
    codes = entity_codes([rows.column(name) for name in group.entity])
    counted = None if group.counted is None else _mask(rows.column(group.counted))
    values = {
        use: value_codes(rows.column(use.column))
        if use.as_codes
        else _floats(rows.column(use.column))
        for use in map(_use, group.windows)
        if use is not None
    }
    slots = np.full(rows.num_rows, -1, dtype=np.int64)
    slots[targets] = np.arange(len(targets))
    result = np.full((len(group.windows), len(targets)), np.nan, dtype=np.float32)
    for order, keys in keyed_blocks(codes, times, group.reach):
        wanted = slots[order] >= 0
        where = slots[order[wanted]]
        target_keys = keys[wanted]
        if counted is not None:
            kept = counted[order]
            order, keys = order[kept], keys[kept]
        block = _Block(
            windows=Windows(keys, target_keys),
            entities=codes[order],
            values={use: column[order] for use, column in values.items()},
        )
        with np.errstate(over="ignore"):
            for number, feature in enumerate(block.features(group.windows)):
                result[number, where] = feature
    return result


class _Use(NamedTuple):
    """A column as an aggregation takes it."""

    column: str
    as_codes: bool


def _use(window: Window) -> _Use | None:
    return None if window.value is None else _Use(window.value, window.function == "distinct_count")


class _Block:
    """Sorted events, the targets' windows over them, and what several features share."""

    def __init__(
        self,
        *,
        windows: Windows,
        entities: np.ndarray,
        values: dict[_Use, np.ndarray],
    ) -> None:
        self._windows = windows
        self._entities = entities
        self._columns = values
        self._values: dict[_Use, Values] = {}

    def features(self, wanted: tuple[Window, ...]) -> list[np.ndarray]:
        """Return the features in order, those of a function and a value together."""
        found: dict[str, np.ndarray] = {}
        for window in wanted:
            if window.name not in found:
                kind = (window.function, window.value)
                alike = [other for other in wanted if (other.function, other.value) == kind]
                found.update(zip((other.name for other in alike), self._alike(alike)))
        return [found[window.name] for window in wanted]

    def _alike(self, alike: list[Window]) -> list[np.ndarray]:
        function, use = alike[0].function, _use(alike[0])
        ranges = [
            (self._windows.start(w.delay, w.length), self._windows.end(w.delay)) for w in alike
        ]
        if function == "count":
            return [end - start for start, end in ranges]
        if function == "time_since_last":
            return [self._time_since_last(window) for window in alike]
        assert use is not None
        if use.as_codes:
            return distinct_counts(following_events(self._entities, self._columns[use]), ranges)
        if use not in self._values:
            self._values[use] = Values(self._columns[use])
        values = self._values[use]
        if function in ("min", "max"):
            results = values.extreme(function, ranges)
        else:
            compute: Callable[[np.ndarray, np.ndarray], np.ndarray] = {
                "sum": values.sum,
                "mean": values.mean,
                "std": values.std,
                "label_rate": values.mean,
            }[function]
            results = [compute(start, end) for start, end in ranges]
        return [
            np.where(values.counts(start, end) > 0, result, np.nan if w.empty is None else w.empty)
            for w, result, (start, end) in zip(alike, results, ranges)
        ]

    def _time_since_last(self, window: Window) -> np.ndarray:
        start = self._windows.start(window.delay, window.length)
        end = self._windows.last_before(window.delay)
        some = np.flatnonzero(end > start)
        elapsed = np.full(len(end), np.nan)
        elapsed[some] = self._windows.elapsed(end - 1, some) / 1e6
        return elapsed


def _mask(column: pa.ChunkedArray) -> np.ndarray:
    return column.fill_null(False).to_numpy(zero_copy_only=False).astype(bool)


def _floats(column: pa.ChunkedArray) -> np.ndarray:
    return column.cast("float64").to_numpy(zero_copy_only=False).astype(np.float64)
