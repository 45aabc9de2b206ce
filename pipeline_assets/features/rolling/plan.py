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
    empty: float | None = None
    """Result of sum, mean, std, min, max and label_rate over windows without values; None for NaN."""


@dataclass(frozen=True, kw_only=True)
class RollingGroup:
    """Features over the same events of the same entities. Column names are those of the kernel's input."""

    entity: tuple[str, ...]
    """Columns that identify the entity."""
    counted: str | None
    """Boolean column: which rows are events; None where all are."""
    windows: tuple[Window, ...]
    """The features in order."""

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
    """One for all entries of `features.rolling` with the same entity and filter: the events travel once."""
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
        name = f"_rolling{len(columns)}"
        columns[name] = sql
        return name

    groups: dict[tuple[tuple[str, ...], str | None], dict[str, Window]] = {}
    for rolling in use_case.features.rolling:
        entity = tuple(column(f"`{name}`") for name in rolling.entity)
        counted = None if rolling.filter is None else column(f"({rolling.filter}) IS TRUE")
        windows = groups.setdefault((entity, counted), {})
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
                delayed = rolling.delay + (delay if labelled else dt.timedelta(0))
                windows[name] = Window(
                    name=name,
                    function=aggregation.function,
                    value=value,
                    length=length // _MICROSECOND,
                    delay=delayed // _MICROSECOND,
                    empty=rolling.empty,
                )
    return RollingPlan(
        groups=tuple(
            RollingGroup(entity=entity, counted=counted, windows=tuple(windows.values()))
            for (entity, counted), windows in groups.items()
        ),
        columns=columns,
    )
