"""What a writing task does: joins the rows of its files with the features that other tasks computed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline_assets.engine.exchange import received
from pipeline_assets.features.frame import FeatureError
from pipeline_assets.features.rolling.files import ROW_ID, STRAYS, FeatureFiles, rows_by_file
from pipeline_assets.features.rolling.tasks import FILE, TARGETS
from pipeline_assets.lake.slots import task_slot


@dataclass(frozen=True, kw_only=True)
class WriteFiles:
    """The function of the last `mapInArrow`: target rows and features in, one JSON summary per file out."""

    files: FeatureFiles
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
            raise FeatureError(STRAYS)
        return self.files.write_all(
            {
                number: partial(
                    self._columns,
                    rows,
                    {kind: found[number] for kind, found in parts.items() if number in found},
                )
                for number, rows in targets.items()
            }
        )

    def _columns(self, rows: pa.Table, features: dict[int, pa.Table]) -> dict[str, Any]:
        """Columns of the rows, the rolling features included. Kind to features of the same file."""
        ids = rows.column(ROW_ID).to_numpy()
        columns = {name: rows.column(name) for name in rows.column_names}
        for group, names in enumerate(self.groups):
            columns |= _aligned(ids, features.get(group + 1), names)
        return columns


def _by_file(table: pa.Table) -> dict[int, pa.Table]:
    """Return file number to its rows, sorted by row id."""
    parts = rows_by_file(table.column(FILE).to_numpy(), table.column(ROW_ID).to_numpy())
    return {number: table.take(pa.array(rows)) for number, rows in parts.items()}


def _aligned(ids: np.ndarray, features: pa.Table | None, names: tuple[str, ...]) -> dict[str, Any]:
    """Return the features of the rows with these ids, NaN for rows that have none."""
    if features is None:
        return {name: pa.array(np.full(len(ids), np.nan, np.float32)) for name in names}
    found = features.column(ROW_ID).to_numpy()
    if len(found) == len(ids) and (found == ids).all():
        return {name: features.column(name) for name in names}
    at = np.searchsorted(ids, found)
    if not (ids[np.minimum(at, len(ids) - 1)] == found).all():
        raise FeatureError(STRAYS)
    columns = {}
    for name in names:
        values = np.full(len(ids), np.nan, np.float32)
        values[at] = features.column(name).to_numpy()
        columns[name] = pa.array(values)
    return columns
