"""What the two tasks before writing do: address the events to their entities' tasks, run the kernel there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipeline_assets.engine.exchange import Message, addressed, chunks, pack, received
from pipeline_assets.engine.layout import Layout
from pipeline_assets.features.rolling.files import ROW_ID
from pipeline_assets.features.rolling.kernel import TIME, rolling_features
from pipeline_assets.features.rolling.plan import RollingGroup
from pipeline_assets.lake.slots import task_slot

FILE = "_file"
TARGETS = 0
"""Kind of the target rows' messages. Those of the features of group g have the kind g + 1."""


@dataclass(frozen=True, kw_only=True)
class SendEvents:
    """Sends each group what its kernel needs, by entity: events with an entity, and target rows."""

    groups: tuple[RollingGroup, ...]
    buckets: int
    """Units of work per group."""
    layout: Layout

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Rows with `TIME`, `ROW_ID`, the groups' columns and `bucket_name(g)` in, messages out."""
        for rows in chunks(batches):
            yield from pack(
                message
                for number, group in enumerate(self.groups)
                for message in self._of_group(rows, number, group)
            )

    def _of_group(self, rows: pa.Table, number: int, group: RollingGroup) -> Iterator[Message]:
        buckets = rows.column(bucket_name(number)).to_numpy() + number * self.buckets
        sent = np.ones(rows.num_rows, dtype=bool)
        for name in group.entity:
            sent &= rows.column(name).is_valid().to_numpy()
        if group.counted is not None:
            times = rows.column(TIME).cast(pa.int64()).to_numpy()
            counted = rows.column(group.counted).fill_null(False).to_numpy()
            sent &= counted | (self.layout.partitions_of(times) >= 0)
        needed = rows.select([TIME, ROW_ID, *group.columns])
        yield from addressed(needed, np.where(sent, buckets, -1), number)


@dataclass(frozen=True, kw_only=True)
class ComputeFeatures:
    """Runs the kernel over each unit of entities and sends the targets' features to their writers."""

    groups: tuple[RollingGroup, ...]
    layout: Layout

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Messages of `SendEvents` in, messages with `FILE`, `ROW_ID` and the features out."""
        units = received(batches)
        while units:
            _, kinds = units.popitem()
            for number, rows in kinds.items():
                with task_slot():
                    packed = list(pack(self._features(rows, number)))
                yield from packed

    def _features(self, rows: pa.Table, number: int) -> Iterator[Message]:
        group = self.groups[number]
        times = rows.column(TIME).cast(pa.int64())
        rows = rows.set_column(rows.schema.get_field_index(TIME), TIME, times)
        row_ids = rows.column(ROW_ID).to_numpy()
        files = self.layout.files_of(times.to_numpy(), row_ids)
        targets = np.flatnonzero(files >= 0)
        features = rolling_features(rows, group, targets)
        files = files[targets]
        columns = [pa.array(files), pa.array(row_ids[targets]), *map(pa.array, features)]
        table = pa.table(columns, names=[FILE, ROW_ID, *group.names])
        yield from addressed(table, self.layout.writers_of(files), number + 1)


@dataclass(frozen=True, kw_only=True)
class SendTargets:
    """Sends the rows of the partitions, with what was computed of each by itself, to their writers.

    Rows of other times than the partitions' go nowhere; their number is missed in the end.
    """

    layout: Layout

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Rows with `TIME` and `ROW_ID` in, messages with `FILE` before all columns out."""
        for rows in chunks(batches):
            times = rows.column(TIME).cast(pa.int64()).to_numpy()
            files = self.layout.files_of(times, rows.column(ROW_ID).to_numpy())
            table = rows.add_column(0, FILE, pa.array(files))
            yield from pack(addressed(table, self.layout.writers_of(files), TARGETS))


def bucket_name(group: int) -> str:
    """Column with the number of an entity's unit of work within its group."""
    return f"_bucket{group}"
