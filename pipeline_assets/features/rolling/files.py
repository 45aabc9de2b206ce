"""Writing the files of feature tables: rows in order, infinities made missing, a summary of each file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline_assets.features.frame import FeatureError
from pipeline_assets.lake.parquet import write_parquet

ROW_ID = "_row_id"
SUMMARY_SCHEMA = "summary string"
"""JSON: partition, file (a `FileEntry`), rows without a label, positive ones, infinities per feature."""

STRAYS = "a partition holds events of another partition's time; validate the partitions again"

_WRITES_AT_ONCE = 4


@dataclass(frozen=True, kw_only=True)
class OutputFile:
    """Where a file goes."""

    partition: str
    """Key of its partition, for messages."""
    uri: str
    """Full URI."""
    path: str
    """Path within the version."""
    storage_options: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class FeatureFiles:
    """The files of some partitions, and what is in them."""

    files: tuple[OutputFile, ...]
    """By file number."""
    columns: tuple[str, ...]
    """Columns of the feature table in order."""
    numeric: tuple[str, ...]
    """float32 features among them; what is infinite there becomes NaN and is counted."""

    def write_all(self, contents: Mapping[int, Any]) -> list[str]:
        """Write files by number, some at the same time; return their summaries.

        While one file waits to be safe on disk, or sent, another can use the core.

        Args:
            contents: number to a function that returns the file's columns, sorted by row id.
        """
        with ThreadPoolExecutor(_WRITES_AT_ONCE) as threads:
            return list(threads.map(lambda n: self._write(self.files[n], contents[n]()), contents))

    def _write(self, file: OutputFile, columns: dict[str, Any]) -> str:
        ids = columns[ROW_ID].to_numpy()
        if len(ids) > 1 and not (ids[1:] > ids[:-1]).all():
            raise FeatureError(
                f"partition {file.partition}: two rows have the same row id; their keys are equal"
            )
        infinite = {}
        for name in self.numeric:
            values = columns[name].to_numpy(zero_copy_only=False)
            wrong = np.isinf(values)
            if wrong.any():
                infinite[name] = int(wrong.sum())
                values = np.where(wrong, np.float32(np.nan), values)
            columns[name] = pa.array(values)
        labels = columns["label"]
        table = pa.table([columns[name] for name in self.columns], names=list(self.columns))
        entry = write_parquet(table, file.uri, storage_options=file.storage_options, path=file.path)
        return json.dumps(
            {
                "partition": file.partition,
                "file": asdict(entry),
                "unlabelled": labels.null_count,
                "positive": int(np.nansum(labels.to_numpy(zero_copy_only=False))),
                "infinite": infinite,
            }
        )


def rows_by_file(files: np.ndarray, row_ids: np.ndarray) -> dict[int, np.ndarray]:
    """Return file number to the positions of its rows, sorted by row id. Negative numbers are left out."""
    near = files - files.min(
        initial=0
    )  # numbers of neighbouring files: a radix sort of 16 bits does
    small = near.astype(np.int16) if near.max(initial=0) < 2**15 else near
    order = np.argsort(small, kind="stable")
    ordered = files[order]
    starts = np.flatnonzero(np.diff(ordered, prepend=-2))
    parts = {}
    for start, end in zip(starts, [*starts[1:], len(order)]):
        if ordered[start] >= 0:
            within = order[start:end]
            parts[int(ordered[start])] = within[np.argsort(row_ids[within])]
    return parts
