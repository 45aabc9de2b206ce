"""What a use case asks of the kernel, in terms of columns and microseconds. Small, and sent to tasks."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline_assets.spec.rolling import RollingFunction
    from pipeline_assets.spec.use_case import UseCase

_MICROSECOND = dt.timedelta(microseconds=1)


@dataclass(frozen=True, kw_only=True)
class Window:
    """One feature: an aggregation over `(t - delay - length, t - delay]`."""

    name: str
    """Name of the feature."""
    function: RollingFunction
    """The aggregation."""
    value: str | None
    """Column that it aggregates; None for count and time_since_last."""
    length: int
    """Microseconds."""
    delay: int
    """Microseconds, the label delay included where it applies."""


@dataclass(frozen=True, kw_only=True)
class RollingGroup:
    """Features over the events of one kind of entity. Column names are those of the kernel's input."""

    name: str
    """Name in the use case."""
    entity: tuple[str, ...]
    """Columns that identify the entity."""
    counted: str | None
    """Boolean column: which rows are events; None where all are."""
    windows: tuple[Window, ...]
    """The features in order."""
    empty: float | None
    """Result of sum, mean, std, min, max and label_rate over windows without values; None for NaN."""

    @property
    def names(self) -> list[str]:
        """Names of the features in order."""
        return [window.name for window in self.windows]

    @property
    def values(self) -> list[str]:
        """Columns that are aggregated."""
        return list(dict.fromkeys(w.value for w in self.windows if w.value is not None))

    @property
    def columns(self) -> list[str]:
        """All columns that the kernel reads, the time apart."""
        counted = [self.counted] if self.counted is not None else []
        return list(dict.fromkeys([*self.entity, *self.values, *counted]))

    @property
    def reach(self) -> int:
        """How far back any window looks, microseconds."""
        return max(window.delay + window.length for window in self.windows)


@dataclass(frozen=True, kw_only=True)
class RollingPlan:
    """All groups of a use case, and the expressions that make their columns."""

    groups: tuple[RollingGroup, ...]
    """One per entry of `features.rolling`."""
    columns: dict[str, str]
    """Input column to its SQL over validated columns. Groups share what they have in common."""


def rolling_plan(use_case: UseCase, label_sql: str) -> RollingPlan:
    """Return the plan of a use case with a `time` block.

    Args:
        use_case: the use case.
        label_sql: SQL of the label, 1 or 0.
    """
    delay = use_case.time.label_delay if use_case.time is not None else dt.timedelta(0)
    columns: dict[str, str] = {}

    def column(sql: str) -> str:
        for name, known in columns.items():
            if known == sql:
                return name
        columns[f"_c{len(columns)}"] = sql
        return f"_c{len(columns) - 1}"

    groups = []
    for rolling in use_case.features.rolling:
        windows: dict[str, Window] = {}
        for aggregation in rolling.aggregations:
            labelled = aggregation.function == "label_rate"
            value = None
            if labelled:
                value = column(label_sql)
            elif aggregation.of is not None:
                exact = aggregation.function == "distinct_count"
                value = column(aggregation.of if exact else f"CAST({aggregation.of} AS DOUBLE)")
            since = aggregation.function == "time_since_last"
            for length in [max(rolling.windows)] if since else rolling.windows:
                name = rolling.feature_name(aggregation, length)
                windows[name] = Window(
                    name=name,
                    function=aggregation.function,
                    value=value,
                    length=length // _MICROSECOND,
                    delay=(rolling.delay + (delay if labelled else dt.timedelta(0)))
                    // _MICROSECOND,
                )
        groups.append(
            RollingGroup(
                name=rolling.name,
                entity=tuple(column(f"`{name}`") for name in rolling.entity),
                counted=None if rolling.filter is None else column(f"({rolling.filter}) IS TRUE"),
                windows=tuple(windows.values()),
                empty=rolling.empty,
            )
        )
    return RollingPlan(groups=tuple(groups), columns=columns)
