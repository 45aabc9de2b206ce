"""Which partition, file and writing task a row belongs to: a function of its time and row id alone."""

from dataclasses import dataclass

import numpy as np


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
