"""What a writing task does: puts the rows of a file in order, joins their features, writes, counts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline_assets.engine.exchange import received
from pipeline_assets.features.frame import FeatureError
from pipeline_assets.features.rolling.tasks import FILE, ROW_ID, TARGETS
from pipeline_assets.lake.parquet import write_parquet
from pipeline_assets.lake.slots import task_slot

SUMMARY_SCHEMA = "summary string"

WRITES_AT_ONCE = 4
"""Files that a task writes at the same time."""

_STRAYS = "a partition holds events of another partition's time; validate the partitions again"


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
class WriteFiles:
    """The function of the last `mapInArrow`: target rows and features in, one JSON summary per file out."""

    files: tuple[OutputFile, ...]
    """By file number."""
    columns: tuple[str, ...]
    """Columns of the feature table in order."""
    numeric: tuple[str, ...]
    """float32 features among them; what is infinite there becomes NaN and is counted."""
    groups: tuple[tuple[str, ...], ...]
    """Names of the features of each rolling group."""

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Write the files."""
        units = received(batches)
        while units:
            _, kinds = units.popitem()
            with task_slot():
                summaries = self._write_all(kinds)
            yield pa.RecordBatch.from_pydict({"summary": summaries})

    def _write_all(self, kinds: dict[int, pa.Table]) -> list[str]:
        parts = {kind: _by_file(table) for kind, table in kinds.items()}
        targets = parts.pop(TARGETS, {})
        if any(not features.keys() <= targets.keys() for features in parts.values()):
            raise FeatureError(_STRAYS)

        def write(number: int) -> str:
            features = {kind: found[number] for kind, found in parts.items() if number in found}
            return self._write(self.files[number], targets[number], features)

        # While one file waits to be safe on disk, or sent, another can use the core.
        with ThreadPoolExecutor(WRITES_AT_ONCE) as threads:
            return list(threads.map(write, targets))

    def _columns(
        self, file: OutputFile, rows: pa.Table, features: dict[int, pa.Table]
    ) -> dict[str, Any]:
        """Columns of the rows, the rolling features included. Kind to features of the same file."""
        ids = rows.column(ROW_ID).to_numpy()
        if len(ids) > 1 and not (ids[1:] > ids[:-1]).all():
            raise FeatureError(
                f"partition {file.partition}: two rows have the same row id; their keys are equal"
            )
        columns = {name: rows.column(name) for name in rows.column_names}
        for group, names in enumerate(self.groups):
            columns |= _aligned(ids, features.get(group + 1), names)
        return columns

    def _write(self, file: OutputFile, rows: pa.Table, features: dict[int, pa.Table]) -> str:
        columns = self._columns(file, rows, features)
        infinite = {}
        for name in self.numeric:
            values = columns[name].to_numpy(zero_copy_only=False).astype(np.float32)
            wrong = np.isinf(values)
            if wrong.any():
                infinite[name] = int(wrong.sum())
                values[wrong] = np.nan
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


def _by_file(table: pa.Table) -> dict[int, pa.Table]:
    """Return file number to its rows, sorted by row id."""
    files, ids = table.column(FILE).to_numpy(), table.column(ROW_ID).to_numpy()
    first = files.min(initial=0)
    near = files - first  # neighbouring files: a radix sort of 16 bits does
    order = np.argsort(
        near.astype(np.int16) if near.max(initial=0) < 2**15 else near, kind="stable"
    )
    ordered = files[order]
    starts = np.flatnonzero(np.diff(ordered, prepend=-1))
    parts = {}
    for start, end in zip(starts, [*starts[1:], len(order)]):
        within = order[start:end]
        parts[int(ordered[start])] = table.take(pa.array(within[np.argsort(ids[within])]))
    return parts


def _aligned(
    ids: np.ndarray, features: pa.Table | None, names: tuple[str, ...]
) -> dict[str, pa.Array]:
    """Return the features of the rows with these ids, NaN for rows that have none."""
    if features is None:
        return {name: pa.array(np.full(len(ids), np.nan, np.float32)) for name in names}
    found = features.column(ROW_ID).to_numpy()
    if len(found) == len(ids) and (found == ids).all():
        return {name: features.column(name) for name in names}
    at = np.searchsorted(ids, found)
    if not (ids[np.minimum(at, len(ids) - 1)] == found).all():
        raise FeatureError(_STRAYS)
    columns = {}
    for name in names:
        values = np.full(len(ids), np.nan, np.float32)
        values[at] = features.column(name).to_numpy()
        columns[name] = pa.array(values)
    return columns
