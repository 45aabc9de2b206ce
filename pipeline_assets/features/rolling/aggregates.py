"""The aggregations over index ranges. Cost does not grow with the ranges, but for a logarithm in min and max.

All take `start` and `end`, int64 [targets], into the sorted events, and return float64 [targets].
"""

from typing import Literal

import numpy as np

from pipeline_assets.features.rolling.exact import (
    LARGEST,
    ExactSums,
    prefix_sums,
    sample_deviation,
)


class Values:
    """One value per event: its sums, mean and deviation over ranges. Missing values are left out.

    A range that holds an infinity, or a value of magnitude 2**62 and beyond, has infinite results.
    """

    def __init__(self, values: np.ndarray) -> None:
        """Take float64 [events], NaN where missing."""
        self._values = values
        missing = np.isnan(values)
        huge = np.abs(values) >= LARGEST
        self._present = prefix_sums(~missing) if missing.any() else None
        self._huge = prefix_sums(huge) if huge.any() else None
        self._summable = np.where(missing | huge, 0.0, values)
        self._sums: ExactSums | None = None
        self._squares: ExactSums | None = None

    def counts(self, start: np.ndarray, end: np.ndarray) -> np.ndarray:
        """Values that are not missing, int64."""
        return end - start if self._present is None else self._present[end] - self._present[start]

    def sum(self, start: np.ndarray, end: np.ndarray) -> np.ndarray:
        """Sum, zero where there is no value."""
        return self._or_infinite(self._exact_sums().between(start, end), start, end)

    def mean(self, start: np.ndarray, end: np.ndarray) -> np.ndarray:
        """Mean, NaN where there is no value."""
        with np.errstate(invalid="ignore"):
            return self.sum(start, end) / self.counts(start, end)

    def std(self, start: np.ndarray, end: np.ndarray) -> np.ndarray:
        """Sample standard deviation, NaN where there are fewer than two values."""
        if self._squares is None:
            self._squares = ExactSums(self._summable, squared=True)
        deviation = sample_deviation(
            self._exact_sums().precisely_between(start, end),
            self._squares.precisely_between(start, end),
            self.counts(start, end),
        )
        return self._or_infinite(deviation, start, end)

    def extreme(
        self, which: Literal["min", "max"], ranges: list[tuple[np.ndarray, np.ndarray]]
    ) -> list[np.ndarray]:
        """Smallest or largest value for each of several lists of ranges; arbitrary where there is none.

        A table of the extremes of 1, 2, 4, 8, … neighbours; two overlapping runs cover any range. Only
        one row of the table is held at a time.
        """
        choose, neutral = (np.fmin, np.inf) if which == "min" else (np.fmax, -np.inf)
        results = [np.full(len(start), neutral) for start, _ in ranges]
        # The exponent of a length: runs of 2**(exponent - 1) are the longest that fit.
        levels = [np.frexp(end - start)[1] - 1 for start, end in ranges]
        table = self._values
        for level in range(max((int(level.max(initial=-1)) for level in levels), default=-1) + 1):
            if level:
                half = 1 << (level - 1)
                table = choose(table[:-half], table[half:])
            for result, (start, end), levels_of in zip(results, ranges, levels):
                at = np.flatnonzero(levels_of == level)
                result[at] = choose(table[start[at]], table[end[at] - (1 << level)])
        return results

    def _exact_sums(self) -> ExactSums:
        if self._sums is None:
            self._sums = ExactSums(self._summable)
        return self._sums

    def _or_infinite(self, results: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
        if self._huge is None:
            return results
        return np.where(self._huge[end] > self._huge[start], np.inf, results)


def distinct_counts(
    following: np.ndarray, ranges: list[tuple[np.ndarray, np.ndarray]]
) -> list[np.ndarray]:
    """Distinct values for each of several lists of ranges; starts and ends must not decrease.

    Event i is the last one of its value in a range that starts at or before i and ends after i, but
    not after the value's next event. As starts and ends do not decrease, these are neighbouring ranges:
    each event adds one to a run of targets, and the counts are the sums of differences.

    Args:
        following: int64 [events], see `following_events`.
        ranges: pairs of int64 [targets].
    """
    events = np.flatnonzero(following >= 0)
    results = []
    for start, end in ranges:
        # How many targets have an end of at most i (or a start of at most i), for every i at once.
        ended = np.cumsum(np.bincount(end, minlength=len(following) + 1))
        started = np.cumsum(np.bincount(start, minlength=len(following) + 1))
        first = ended[events]
        last = np.minimum(ended[following[events]], started[events])
        counted = last > first
        change = np.bincount(first[counted], minlength=len(start) + 1).astype(np.int64)
        change -= np.bincount(last[counted], minlength=len(start) + 1)
        results.append(np.cumsum(change)[: len(start)].astype(np.float64))
    return results


def following_events(entities: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Return int64 [events]: the entity's next event with the same value; n where none, -1 without value.

    Args:
        entities: int64 [events], ascending.
        codes: int64 [events], equal for equal values, -1 where missing.
    """
    following = np.full(len(codes), len(codes), dtype=np.int64)
    following[codes < 0] = -1
    known = np.flatnonzero(codes >= 0)
    # Stable, so that events of one value stay in the order of entity and time.
    order = known[np.argsort(codes[known], kind="stable")]
    same = (codes[order[1:]] == codes[order[:-1]]) & (entities[order[1:]] == entities[order[:-1]])
    following[order[:-1][same]] = order[1:][same]
    return following
