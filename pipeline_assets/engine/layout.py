"""Which partition, file and writing task a row belongs to: a function of its time and row id alone."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)
_INT64 = np.iinfo(np.int64)


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The files of some partitions, numbered through, and the tasks that write them.

    A partition has one file, or several by the remainder of `_row_id` where it has many rows. A writing
    task has several neighbouring files.
    """

    starts: tuple[int, ...]
    """First microsecond of each partition, ascending."""
    ends: tuple[int, ...]
    """First microsecond after each partition."""
    files: tuple[int, ...]
    """Number of files of each partition."""
    writers: tuple[int, ...]
    """Writing task of each file, ascending."""

    @classmethod
    def of_rows(
        cls,
        bounds: Sequence[tuple[dt.datetime, dt.datetime] | None],
        rows: Sequence[int],
        *,
        rows_per_file: int,
        rows_per_task: int,
    ) -> "Layout":
        """Lay out the files of some partitions.

        Args:
            bounds: first instant of each partition and the first one after it, ascending; None for a
                table without time, which has one partition.
            rows: of each partition.
            rows_per_file: a partition with more has several files.
            rows_per_task: a task has neighbouring files with about so many rows.
        """
        known = [pair for pair in bounds if pair is not None]
        files = [max(1, -(-count // rows_per_file)) for count in rows]
        per_file = [count // number for count, number in zip(rows, files) for _ in range(number)]
        return cls(
            starts=tuple(_microseconds(start) for start, _ in known) or (int(_INT64.min),),
            ends=tuple(_microseconds(end) for _, end in known) or (int(_INT64.max),),
            files=tuple(files),
            writers=tuple(total // rows_per_task for total in accumulate(per_file)),
        )

    @property
    def tasks(self) -> int:
        """Number of writing tasks."""
        return max(self.writers, default=0) + 1

    def partitions_of(self, times: np.ndarray) -> np.ndarray:
        """Return int64 [rows]: position of the partition, -1 for rows of none of them."""
        found = np.searchsorted(np.array(self.starts), times, side="right") - 1
        outside = (found < 0) | (times >= np.array(self.ends)[found])
        return np.where(outside, -1, found)

    def files_of(self, times: np.ndarray, row_ids: np.ndarray) -> np.ndarray:
        """Return int32 [rows]: number of the file, -1 for rows of none of the partitions."""
        partitions = self.partitions_of(times)
        counts = np.array(self.files)[partitions]
        firsts = np.cumsum([0, *self.files[:-1]])[partitions]
        return np.where(partitions < 0, -1, firsts + row_ids % counts).astype(np.int32)

    def writers_of(self, files: np.ndarray) -> np.ndarray:
        """Return int32 [rows]: the writing task of each file number, -1 for -1."""
        return np.array([*self.writers, -1], dtype=np.int32)[files]


def _microseconds(instant: dt.datetime) -> int:
    return (instant - _EPOCH) // _MICROSECOND
