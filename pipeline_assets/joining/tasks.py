"""What tasks do before writing: send events to the writers of their files, and match large sources.

A source that is too large for every task meets the events' keys in tasks of its own, by the hash of the
key; what these find travels to the writers. Events themselves travel once, however many sources.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipeline_assets.contract.names import ROW_ID
from pipeline_assets.engine.exchange import addressed, chunks, pack, received
from pipeline_assets.engine.layout import Layout
from pipeline_assets.joining.matching import Positions, instants
from pipeline_assets.joining.plan import SourcePlan
from pipeline_assets.lake.slots import task_slot

EVENTS = 0
"""Kind of the events' messages to writers. Those with the columns of source s have the kind s + 1."""
FILE = "_file"
UNIT = "_unit"
"""Column with the number of the task that matches a row, made by the engine from the hash of its key."""

_SOURCE_ROWS, _KEYS = 0, 1


@dataclass(frozen=True, kw_only=True)
class SendEvents:
    """Sends rows to the writers of their files.

    Rows of other times than the partitions' go nowhere; their number is missed in the end.
    """

    layout: Layout
    time: str | None
    """Time column of the events."""

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Events in, messages to writers out."""
        for rows in chunks(batches):
            files = self.layout.files_of(times_of(rows, self.time), rows[ROW_ID].to_numpy())
            table = rows.add_column(0, FILE, pa.array(files))
            yield from pack(addressed(table, self.layout.writers_of(files), EVENTS))


@dataclass(frozen=True, kw_only=True)
class SendKeys:
    """Sends the events' keys of one source, with their files and times, to where they are matched."""

    layout: Layout
    time: str | None
    plan: SourcePlan

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Events with `UNIT` in, messages out. Events that lack a value of the key are not sent."""
        for rows in chunks(batches):
            files = self.layout.files_of(times_of(rows, self.time), rows[ROW_ID].to_numpy())
            sent = files >= 0
            for name in self.plan.event_key:
                sent &= rows[name].is_valid().to_numpy()
            table = rows.drop_columns([UNIT]).add_column(0, FILE, pa.array(files))
            yield from pack(addressed(table, np.where(sent, rows[UNIT].to_numpy(), -1), _KEYS))


class SendSource:
    """Sends the rows of a source to where they are matched."""

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Rows with `UNIT` in, messages out."""
        for rows in chunks(batches):
            yield from pack(
                addressed(rows.drop_columns([UNIT]), rows[UNIT].to_numpy(), _SOURCE_ROWS)
            )


@dataclass(frozen=True, kw_only=True)
class MatchUnits:
    """Finds the rows of the keys of each unit and sends their columns to the events' writers."""

    layout: Layout
    time: str | None
    plans: tuple[SourcePlan, ...]
    """All sources."""
    units: int
    """Units of each source; unit u belongs to source u // units."""

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Messages of `SendKeys` and `SendSource` in, messages to writers out."""
        units = received(batches)
        while units:
            unit, kinds = units.popitem()
            if len(kinds) < 2:
                continue  # keys without a row, or rows that nobody asks for
            number = unit // self.units
            with task_slot():
                found = self._match(self.plans[number], kinds[_SOURCE_ROWS], kinds[_KEYS])
            files = found[FILE].to_numpy()
            yield from pack(addressed(found, self.layout.writers_of(files), number + 1))

    def _match(self, plan: SourcePlan, source: pa.Table, keys: pa.Table) -> pa.Table:
        source = source.select(plan.schema.names).cast(plan.schema)
        times = times_of(keys, self.time)
        at = plan.index(source).positions([keys[name] for name in plan.event_key], times)
        matched = np.flatnonzero(at >= 0)
        taken = keys.select([FILE, ROW_ID]).take(pa.array(matched))
        columns = {name: taken[name] for name in taken.column_names}
        return pa.table(columns | plan.columns(source, at[matched]))


def times_of(rows: pa.Table, time: str | None) -> Positions:
    """Return int64 [rows]: microseconds since 1970 in UTC; zero for events without time."""
    if time is None:
        return np.zeros(rows.num_rows, dtype=np.int64)
    return instants(rows[time], "UTC")
