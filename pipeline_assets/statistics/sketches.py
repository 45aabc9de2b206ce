"""Mergeable, deterministic summaries: hashes, distinct counts, categories.

Why not KLL, HLL and friends from DataSketches: KLL draws random bits that cannot be seeded from
Python, so two runs on the same rows would differ, and with them the published bytes. What is here
depends on the set of rows alone (categories beyond the limit: on the files as well, which are the
same on every engine).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xxhash

DISTINCT_LIMIT = 4096
"""Hashes kept for a distinct count; the standard error beyond it is 1 / sqrt(4096)."""


def mix(values: np.ndarray) -> np.ndarray:
    """Hash 64-bit integers to uint64 by the finaliser of SplitMix64 (Steele et al., 2014)."""
    with np.errstate(over="ignore"):
        x = values.view(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))


def float_hashes(values: np.ndarray) -> np.ndarray:
    """Hash float32 values without NaN to uint64; 0 and -0 are one value."""
    return mix((values + np.float32(0)).view(np.uint32).astype(np.uint64))


def text_hash(value: str) -> int:
    """Return the engines' `xxhash64` of a text as int64: XXH64, seed 42, of its UTF-8 bytes."""
    unsigned = xxhash.xxh64_intdigest(value.encode(), 42)
    return unsigned - 2**64 if unsigned >= 2**63 else unsigned


class Distinct:
    """Counts distinct values by their smallest hashes (k minimum values, Bar-Yossef 2002)."""

    def __init__(self, hashes: np.ndarray | None = None) -> None:
        """Start empty, or from uint64 hashes: sorted, unique, at most `DISTINCT_LIMIT`."""
        self.hashes = np.empty(0, dtype=np.uint64) if hashes is None else hashes

    def update(self, hashes: np.ndarray) -> None:
        """Add uint64 hashes of values, in any order, repeated or not."""
        if len(self.hashes) >= DISTINCT_LIMIT:
            hashes = hashes[hashes < self.hashes[-1]]
        if len(hashes):
            self.hashes = np.union1d(self.hashes, hashes)[:DISTINCT_LIMIT]

    def estimate(self) -> int:
        """Return the number of distinct values; exact below `DISTINCT_LIMIT`."""
        if len(self.hashes) < DISTINCT_LIMIT:
            return len(self.hashes)
        return round((DISTINCT_LIMIT - 1) / (float(self.hashes[-1]) / 2.0**64))


class CategoryCounts:
    """Counts values by cell: 2 * half + label, where half is a coin toss of the row's hash.

    Exact up to `2 * limit` distinct values. Beyond, the rarest are forgotten, and `error` bounds
    how many rows of one value may have been.
    """

    CELLS = 4

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.error = 0
        self.missing = np.zeros(self.CELLS, dtype=np.int64)
        self.distinct = Distinct()
        self._index: dict[str, int] = {}
        self._counts = np.zeros((64, self.CELLS), dtype=np.int64)

    @property
    def values(self) -> list[str]:
        """The values, in the order of `counts`."""
        return list(self._index)

    @property
    def counts(self) -> np.ndarray:
        """Rows per value and cell, int64 [values, 4]."""
        return self._counts[: len(self._index)]

    def update(self, values: Sequence[str], counts: np.ndarray) -> None:
        """Add rows per distinct value and cell, int64 [values, 4]."""
        known = len(self._index)
        index = self._index
        positions = [index.setdefault(value, len(index)) for value in values]
        fresh = [value for value, at in zip(values, positions, strict=True) if at >= known]
        if fresh:
            hashes = np.array([text_hash(value) for value in fresh], dtype=np.int64)
            self.distinct.update(hashes.view(np.uint64))
        if len(index) > len(self._counts):
            grown = np.zeros((2 * len(index), self.CELLS), dtype=np.int64)
            grown[:known] = self._counts[:known]
            self._counts = grown
        if positions:
            self._counts[positions] += counts
        if len(index) > 2 * self.limit:
            self._forget()

    def merge(self, other: CategoryCounts) -> None:
        """Add another's counts to these."""
        self.distinct.update(other.distinct.hashes)
        self.missing += other.missing
        self.error += other.error
        self.update(other.values, other.counts)

    def ordered(self) -> tuple[list[str], np.ndarray]:
        """Return (values, counts), the most frequent first, ties by text."""
        values, counts = self.values, self.counts
        totals = counts.sum(axis=1)
        order = sorted(range(len(values)), key=lambda at: (-totals[at], values[at]))
        return [values[at] for at in order], counts[order]

    def _forget(self) -> None:
        # All values that tie at the limit go: which stay must not depend on the order they came in.
        totals = self.counts.sum(axis=1)
        largest = int(np.partition(totals, -self.limit - 1)[-self.limit - 1])
        kept = np.flatnonzero(totals > largest)
        values = self.values
        self.error += largest
        self._index = {values[old]: new for new, old in enumerate(kept)}
        self._counts = self._counts[kept]
