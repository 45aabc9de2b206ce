"""Rolling-window features: what was counted, summed or averaged of an entity's events up to a moment.

The window of an event at time t is (t - delay - window, t - delay]: events of the same instant are in it
when the delay is zero, the event itself included. Aggregations of the label add the use case's label
delay, so that no label is seen before it was known.
"""

import datetime as dt
from typing import Literal

from pydantic import Field, model_validator

from pipeline_assets.spec.duration import Duration, PositiveDuration, format_duration
from pipeline_assets.spec.model_base import SpecModel

RollingFunction = Literal[
    "count", "sum", "mean", "std", "min", "max", "distinct_count", "time_since_last", "label_rate"
]
_WITH_VALUE = {"sum", "mean", "std", "min", "max", "distinct_count"}


class Aggregation(SpecModel):
    """One number per window."""

    function: RollingFunction
    """`std` is the sample standard deviation (n - 1); `time_since_last` is in seconds, since the last
    earlier event (not of the same instant); `label_rate` is the share of positive labels."""
    of: str | None = None
    """SQL over validated columns, for all but count, time_since_last and label_rate. Nulls are left out."""
    name: str | None = Field(default=None, pattern=r"^[A-Za-z][A-Za-z0-9_]*$")
    """Middle part of the feature's name; the function by default."""

    @model_validator(mode="after")
    def _value_given(self) -> "Aggregation":
        if self.function in _WITH_VALUE and self.of is None:
            raise ValueError(f"{self.function} needs `of`, a column or expression")
        if self.function not in _WITH_VALUE and self.of is not None:
            raise ValueError(f"{self.function} takes no `of`")
        return self


class Rolling(SpecModel):
    """Features of one entity's recent events, named `<name>_<aggregation>_<window>`."""

    name: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")
    """First part of the features' names, e.g. `customer`."""
    entity: list[str] = Field(min_length=1)
    """Contract columns that identify the entity. Events without it get missing values."""
    windows: list[PositiveDuration] = Field(min_length=1)
    """Lengths of the windows. `time_since_last` looks back over the longest one."""
    aggregations: list[Aggregation] = Field(min_length=1)
    """What is computed over each window."""
    filter: str | None = None
    """SQL over validated columns; only events for which it is true are counted. All events get features."""
    delay: Duration = dt.timedelta(0)
    """The windows end so long before the event."""
    empty: float | None = None
    """Value of sum, mean, std, min, max and label_rate of a window without events; missing by default."""

    def feature_name(self, aggregation: Aggregation, window: dt.timedelta) -> str:
        """Name of the feature; `time_since_last` has one for all windows."""
        middle = aggregation.name or aggregation.function
        if aggregation.function == "time_since_last":
            return f"{self.name}_{middle}"
        return f"{self.name}_{middle}_{format_duration(window)}"

    @property
    def feature_names(self) -> list[str]:
        """Names of all features in order: aggregations, each over its windows."""
        names = [
            self.feature_name(aggregation, window)
            for aggregation in self.aggregations
            for window in self.windows
        ]
        return list(dict.fromkeys(names))

    def history(self, label_delay: dt.timedelta) -> dt.timedelta:
        """How far back before an event its features look."""
        labelled = any(a.function == "label_rate" for a in self.aggregations)
        return max(self.windows) + self.delay + (label_delay if labelled else dt.timedelta(0))
