"""Rows to fit and judge on, block by block: from arrays, or from the tensor shards of one split."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

BLOCK_ROWS = 65_536
"""Rows of one block."""


class Block(NamedTuple):
    """Some rows of a split, as the shards hold them."""

    numeric: NDArray[np.float32]
    """[rows, numeric features], NaN for missing."""
    categorical: NDArray[np.int64]
    """[rows, categorical features], hashes, 0 for missing."""
    label: NDArray[np.float32]
    """[rows], 0 or 1."""
    row_id: NDArray[np.int64]
    """[rows]."""

    def part(self, rows: slice | NDArray[np.intp]) -> Block:
        """Some of the rows."""
        return Block(
            self.numeric[rows], self.categorical[rows], self.label[rows], self.row_id[rows]
        )


class Rows(Protocol):
    """A split: its size, and its rows in an order that is the same each time."""

    @property
    def rows(self) -> int:
        """Number of rows."""
        ...

    def blocks(self) -> Iterator[Block]:
        """The rows, in blocks of at most `BLOCK_ROWS`."""
        ...


@dataclass(frozen=True)
class ArrayRows:
    """Rows held in memory."""

    held: Block

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.held.label)

    def blocks(self) -> Iterator[Block]:
        """The rows, in blocks of at most `BLOCK_ROWS`."""
        for start in range(0, self.rows, BLOCK_ROWS):
            yield self.held.part(slice(start, start + BLOCK_ROWS))


class ShardRows:
    """One split of a version of `tensor_shards`, read through its memory map."""

    def __init__(self, folder: Path | str, split: str) -> None:
        from pipeline_assets.shards.reader import ShardReader

        self._reader = ShardReader(folder, split)

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self._reader.rows

    def blocks(self) -> Iterator[Block]:
        """The rows, in blocks of at most `BLOCK_ROWS`."""
        for block in self._reader.iter_blocks(BLOCK_ROWS):
            yield Block(*block)


class KeptRows:
    """The rows of a split but for some."""

    def __init__(self, rows: Rows, excluded: NDArray[np.int64]) -> None:
        """Take the rows whose ids are not in `excluded`, int64 [n]."""
        self._rows = rows
        self._excluded = excluded
        self._kept = sum(len(block.label) for block in self.blocks())

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self._kept

    def blocks(self) -> Iterator[Block]:
        """The rows, in blocks of at most `BLOCK_ROWS`."""
        for block in self._rows.blocks():
            yield block.part(np.flatnonzero(~np.isin(block.row_id, self._excluded)))


def gather(rows: Rows, at_most: int, seed: int) -> Block:
    """All rows as one block, or `at_most` of them drawn without replacement, in their order.

    Raises `ValueError` for a split without rows.
    """
    if rows.rows == 0:
        raise ValueError("the split holds no rows")
    kept: list[Block] = []
    chosen = None
    if rows.rows > at_most:
        chosen = np.sort(np.random.default_rng(seed).permutation(rows.rows)[:at_most])
    start = 0
    for block in rows.blocks():
        if chosen is None:
            kept.append(block)
        else:
            low, high = np.searchsorted(chosen, [start, start + len(block.label)])
            inside = chosen[low:high] - start
            kept.append(block.part(inside))
            start += len(block.label)
    return Block(
        np.concatenate([block.numeric for block in kept]),
        np.concatenate([block.categorical for block in kept]),
        np.concatenate([block.label for block in kept]),
        np.concatenate([block.row_id for block in kept]),
    )
