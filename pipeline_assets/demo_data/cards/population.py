"""Customers and terminals in the plane, and the terminals that a customer pays at."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import KDTree

SIDE = 100.0
"""Length of both sides of the plane; locations are uniform in it."""
RADIUS = 5.0
"""Customers pay at terminals that are at most so far away."""
MEAN_AMOUNTS = (5.0, 100.0)
"""A customer's mean amount is uniform in this range; the standard deviation is half of it."""

_CELLS = int(SIDE / RADIUS)  # a cell is as wide as the radius: reach ends in the next cell


@dataclass(frozen=True, kw_only=True)
class Population:
    """All customers and terminals; a customer's and a terminal's id is its index.

    Terminals are kept sorted by cells of a grid, so memory grows with their number and not with the
    pairs of customer and terminal in reach.
    """

    customers: np.ndarray
    """float64 [customers, 2], locations."""
    mean_amount: np.ndarray
    """float64 [customers]."""
    daily_rate: np.ndarray
    """float64 [customers], payments to expect on a day."""
    terminals: np.ndarray
    """float64 [terminals, 2], locations."""
    nearest: np.ndarray
    """int64 [customers], the terminal that is nearest."""
    in_reach: np.ndarray
    """bool [customers], whether any terminal is within `RADIUS`."""
    by_cell: np.ndarray
    """int64 [terminals], terminals ordered by cell, row by row."""
    cell_starts: np.ndarray
    """int64 [cells + 1], where the terminals of each cell begin in `by_cell`."""

    def pick_terminals(self, rng: np.random.Generator, customers: np.ndarray) -> np.ndarray:
        """A terminal for each payment, uniform among those in reach of its customer.

        Without any in reach it is the nearest. Candidates are drawn from the nine cells around the
        customer until one is in reach, a third at each draw.

        Args:
            rng: source of randomness.
            customers: int64 [payments], the paying customers.

        Returns:
            int64 [payments].
        """
        picked = self.nearest[customers]
        pending = np.flatnonzero(self.in_reach[customers])
        while len(pending):
            at = self.customers[customers[pending]]
            candidate = self._candidates(rng.random(len(pending)), at)
            accepted = _distance(self.terminals[candidate], at) <= RADIUS
            picked[pending[accepted]] = candidate[accepted]
            pending = pending[~accepted]
        return picked

    def _candidates(self, draws: np.ndarray, at: np.ndarray) -> np.ndarray:
        """A terminal of the nine cells around each location; at least one is there."""
        row, column = _cells(at)
        left, right = np.maximum(column - 1, 0), np.minimum(column + 1, _CELLS - 1)
        rows = np.clip(row[:, None] + np.arange(-1, 2), 0, _CELLS - 1)
        starts = self.cell_starts[rows * _CELLS + left[:, None]]
        counts = self.cell_starts[rows * _CELLS + right[:, None] + 1] - starts
        # At the border the clipped row would count twice.
        counts[:, 0] *= row > 0
        counts[:, 2] *= row < _CELLS - 1
        ends = np.cumsum(counts, axis=1)
        position = (draws * ends[:, 2]).astype(np.int64)
        part = (position[:, None] >= ends[:, :2]).sum(axis=1)
        each = np.arange(len(at))
        offset = position - (ends - counts)[each, part]
        return self.by_cell[starts[each, part] + offset]


def draw_population(
    rng: np.random.Generator, *, customers: int, terminals: int, daily_mean: float
) -> Population:
    """Draw customers and terminals.

    Args:
        rng: source of randomness.
        customers: how many, at least 1.
        terminals: how many, at least 1.
        daily_mean: payments a day of a customer, on average over all customers; uniform between 0
            and twice as many.
    """
    at = rng.uniform(0, SIDE, (customers, 2))
    mean_amount = rng.uniform(*MEAN_AMOUNTS, customers)
    activity = rng.random(customers)
    terminals_at = rng.uniform(0, SIDE, (terminals, 2))
    nearest = np.asarray(KDTree(terminals_at).query(at)[1])
    row, column = _cells(terminals_at)
    cell = row * _CELLS + column
    return Population(
        customers=at,
        mean_amount=mean_amount,
        daily_rate=activity * (daily_mean / activity.mean()),
        terminals=terminals_at,
        nearest=nearest,
        # By the same arithmetic as in `pick_terminals`, so that its loop ends.
        in_reach=_distance(terminals_at[nearest], at) <= RADIUS,
        by_cell=np.argsort(cell, kind="stable"),
        cell_starts=np.searchsorted(np.sort(cell), np.arange(_CELLS * _CELLS + 1)),
    )


def _cells(at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row and column of each location's cell."""
    cells = np.minimum((at / RADIUS).astype(np.int64), _CELLS - 1)
    return cells[:, 1], cells[:, 0]


def _distance(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.hypot(one[:, 0] - other[:, 0], one[:, 1] - other[:, 1])
