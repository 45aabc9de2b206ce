"""Rows of generated files as arrays, while they are made, and the bad ones among them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

DAY_SECONDS = 86_400

FIRST_ID_STEP = 1_000_000_000
"""The ids of a day's events begin at its number times this: unique without knowing other days."""

MISSING = -1
"""Stands for null in columns of entities."""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Base of dataclasses whose fields are arrays of one length, a column each."""

    def __len__(self) -> int:
        return len(next(iter(vars(self).values())))

    def take(self, indices: np.ndarray) -> Self:
        """The rows at some indices."""
        return type(self)(**{name: column[indices] for name, column in vars(self).items()})

    def with_copies(self, copies: Self, after: np.ndarray) -> Self:
        """These rows, and each of the copies after the row of the given index."""
        order = np.argsort(np.concatenate([np.arange(len(self)), after]), kind="stable")
        both = {name: (column, vars(copies)[name]) for name, column in vars(self).items()}
        return type(self)(**{n: np.concatenate(columns)[order] for n, columns in both.items()})


def by_turns(kinds: Sequence[str], numbers: np.ndarray) -> dict[str, np.ndarray]:
    """Which bad rows are of which kind: bool [rows] by kind, the kinds take turns by number."""
    return {kind: numbers % len(kinds) == place for place, kind in enumerate(kinds)}


def counted(of_kind: Mapping[str, np.ndarray]) -> dict[str, int]:
    """Rows by kind, kinds without any left out."""
    counts = {kind: int(chosen.sum()) for kind, chosen in of_kind.items()}
    return {kind: count for kind, count in counts.items() if count}
