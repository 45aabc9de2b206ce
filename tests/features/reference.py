"""Rolling features by their definition, one row at a time: slow, and easy to check by eye."""

import math
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline_assets.features.rolling.plan import RollingGroup, Window

SECOND = 1_000_000
FUNCTIONS = (
    "count", "sum", "mean", "std", "min", "max", "distinct_count", "time_since_last", "label_rate",
)  # fmt: skip
_VALUE = {"count": None, "time_since_last": None, "distinct_count": "thing", "label_rate": "label"}


def group(
    lengths: tuple[int, ...] = (1, 5, 17),
    *,
    delay: int = 0,
    label_delay: int = 3,
    empty: float | None = None,
    counted: str | None = None,
) -> RollingGroup:
    """Every aggregation over windows of so many seconds; entity `who`, values `value` and `thing`."""
    windows = [
        Window(
            name=f"{function}_{length}",
            function=function,
            value=_VALUE.get(function, "value"),
            length=length * SECOND,
            delay=(delay + (label_delay if function == "label_rate" else 0)) * SECOND,
            empty=empty,
        )
        for function in FUNCTIONS
        for length in (lengths[-1:] if function == "time_since_last" else lengths)
    ]
    return RollingGroup(entity=("who",), counted=counted, windows=tuple(windows))


def events(rows: list[tuple[Any, ...]]) -> pa.Table:
    """Rows of (second, who, value, thing, label, counted)."""
    columns = list(zip(*rows)) if rows else [()] * 6
    types = [pa.int64(), pa.string(), pa.float64(), pa.string(), pa.float64(), pa.bool_()]
    names = ["_time", "who", "value", "thing", "label", "counted"]
    table = pa.table([pa.array(list(c), t) for c, t in zip(columns, types)], names=names)
    return table.set_column(0, "_time", pa.array(table["_time"].to_numpy() * SECOND, pa.int64()))


def expected(table: pa.Table, plan: RollingGroup, targets: np.ndarray) -> np.ndarray:
    """float32 [features, targets] by the definition in the kernel's docstring."""
    rows = table.to_pylist()
    result = np.full((len(plan.windows), len(targets)), np.nan)
    for column, position in enumerate(targets):
        target = rows[position]
        if any(target[name] is None for name in plan.entity):
            continue
        for line, window in enumerate(plan.windows):
            last = target["_time"] - window.delay
            inside = [
                row
                for row in rows
                if all(row[name] == target[name] for name in plan.entity)
                and (plan.counted is None or row[plan.counted])
                and last - window.length < row["_time"] <= last
            ]
            result[line, column] = _aggregate(window, inside, target["_time"])
    return result.astype(np.float32)


def _aggregate(window: Window, inside: list[dict[str, Any]], now: int) -> float:
    if window.function == "count":
        return len(inside)
    if window.function == "time_since_last":
        earlier = [row["_time"] for row in inside if row["_time"] < now]
        return (now - max(earlier)) / SECOND if earlier else math.nan
    values = [row[window.value] for row in inside if row[window.value] is not None]
    if window.function == "distinct_count":
        return len(set(values))
    if not values:
        return math.nan if window.empty is None else window.empty
    mean = math.fsum(values) / len(values)
    if window.function == "std":
        deviation = (
            np.std(np.array(values, dtype=np.longdouble), ddof=1) if values[1:] else math.nan
        )
        return float(deviation)
    return {
        "sum": math.fsum(values),
        "mean": mean,
        "label_rate": mean,
        "min": min(values),
        "max": max(values),
    }[window.function]
