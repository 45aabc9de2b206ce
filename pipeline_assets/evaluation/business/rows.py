"""What a business metric is given, and what it may return."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, eq=False)
class ScoredRows:
    """The test rows as one predictor scored them. All arrays have the same length and order."""

    label: NDArray[np.float64]
    """[rows], 0 or 1."""
    score: NDArray[np.float64]
    """[rows], probability of the positive class."""
    flagged: NDArray[np.bool_]
    """[rows], the probability reaches the threshold that was chosen on the validation split."""
    event_time: NDArray[np.datetime64] | None = None
    """[rows], microseconds, UTC; None in a use case without `time`."""
    day: NDArray[np.datetime64] | None = None
    """[rows], the day of the event in the use case's time zone; None likewise."""
    columns: Mapping[str, NDArray] = field(default_factory=dict)
    """Carried columns and features of single rows, by name, each [rows]."""

    def column(self, name: str) -> NDArray:
        """A column that goes along. Raises `ValueError` that says how to carry one."""
        if name not in self.columns:
            has = ", ".join(self.columns) or "none"
            raise ValueError(
                f"column {name!r} does not go along with the test rows (there are: {has}): add it to "
                "features.carried and materialise features again"
            )
        return self.columns[name]

    @property
    def days(self) -> NDArray[np.datetime64]:
        """`day`. Raises `ValueError` in a use case without `time`."""
        if self.day is None:
            raise ValueError("days are only known in a use case with a `time` block")
        return self.day


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A value with its course over the days. A function may return a plain number instead."""

    value: float
    """The metric; NaN where it is not defined."""
    daily: Mapping[np.datetime64, float]
    """Day to the value of that day alone."""
