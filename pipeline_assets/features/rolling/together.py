"""What a single task does where all rows fit in one: no row travels, features are written in place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline_assets.engine.exchange import chunks
from pipeline_assets.engine.layout import Layout
from pipeline_assets.features.rolling.files import ROW_ID, FeatureFiles, rows_by_file
from pipeline_assets.features.rolling.kernel import TIME, rolling_features
from pipeline_assets.features.rolling.plan import RollingGroup
from pipeline_assets.features.rolling.tasks import bucket_name
from pipeline_assets.lake.slots import available_cores, task_slot


@dataclass(frozen=True, kw_only=True)
class ComputeTogether:
    """The function of one `mapInArrow` over one task: rows in, one JSON summary per file out.

    Target rows have what was computed of each by itself; rows of the history only what the kernel needs.
    The kernel runs on units of entities, in as many threads as there are cores.
    """

    groups: tuple[RollingGroup, ...]
    layout: Layout
    files: FeatureFiles

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Compute and write."""
        tables = list(chunks(batches))
        if not tables:
            return
        rows = pa.concat_tables(tables).combine_chunks()
        del tables
        times = rows.column(TIME).cast(pa.int64())
        row_ids = rows.column(ROW_ID).to_numpy()
        files = self.layout.files_of(times.to_numpy(), row_ids)
        with ThreadPoolExecutor(available_cores()) as threads:
            by_file = threads.submit(rows_by_file, files, row_ids)
            features = self._features(rows, times, files >= 0, threads)
        with task_slot():
            contents: dict[int, Callable[[], dict[str, Any]]] = {
                number: partial(self._columns, rows, features, positions)
                for number, positions in by_file.result().items()
            }
            summaries = self.files.write_all(contents)
        yield pa.RecordBatch.from_pydict({"summary": summaries})

    def _features(
        self,
        rows: pa.Table,
        times: pa.ChunkedArray,
        wanted: np.ndarray,
        threads: ThreadPoolExecutor,
    ) -> list[np.ndarray]:
        """Return the features of each group, float32 [rows, features]; they mean nothing where not wanted."""
        found, running = [], []
        for number, group in enumerate(self.groups):
            features = np.full((rows.num_rows, len(group.windows)), np.nan, dtype=np.float32)
            found.append(features)
            buckets = rows.column(bucket_name(number)).to_numpy()
            order = np.argsort(buckets.astype(np.int16), kind="stable")
            starts = np.flatnonzero(np.diff(buckets[order], prepend=-1))
            needed = rows.select(group.columns).append_column(TIME, times)
            for start, end in zip(starts, [*starts[1:], len(order)]):
                unit = order[start:end]
                running.append(
                    threads.submit(_compute, needed, unit, group, wanted[unit], features)
                )
        for unit in running:
            unit.result()
        return found

    def _columns(
        self, rows: pa.Table, features: list[np.ndarray], positions: np.ndarray
    ) -> dict[str, Any]:
        """Columns of the rows at some positions, the rolling features included."""
        part = rows.take(pa.array(positions))
        columns: dict[str, Any] = {name: part.column(name) for name in part.column_names}
        for group, values in zip(self.groups, features):
            columns |= zip(group.names, map(pa.array, np.ascontiguousarray(values[positions].T)))
        return columns


def _compute(
    rows: pa.Table,
    unit: np.ndarray,
    group: RollingGroup,
    wanted: np.ndarray,
    features: np.ndarray,
) -> None:
    """Fill in the features of a unit of entities: `unit` holds the positions of its rows."""
    with task_slot():
        targets = np.flatnonzero(wanted)
        part = rows.take(pa.array(unit))
        features[unit[targets]] = rolling_features(part, group, targets).T
