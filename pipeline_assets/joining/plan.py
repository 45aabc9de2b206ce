"""What tasks know of a source: its columns, its files, and how its rows are found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline_assets.engine.arrow_types import ARROW_TYPES
from pipeline_assets.joining.matching import Positions, SourceIndex, instants
from pipeline_assets.lake.storage import Storage
from pipeline_assets.spec.joined import Unmatched, joined_name

if TYPE_CHECKING:
    from pipeline_assets.lake import Version
    from pipeline_assets.spec import UseCase


@dataclass(frozen=True, kw_only=True)
class SourcePlan:
    """A joined source. It travels to the tasks, its rows do not."""

    name: str
    event_key: tuple[str, ...]
    """Columns of the events that it is joined by."""
    key: tuple[str, ...]
    """Its own columns that these equal, in the same order."""
    valid_from: str | None
    zone: str
    """Of the midnights from which dates are valid."""
    unmatched: Unmatched
    schema: pa.Schema
    """The columns that are needed: key, then the joined ones, under their own names."""
    joined: dict[str, str]
    """Column of the source to its name among the events' columns, in order."""
    folder: str
    """URI of the version."""
    storage_options: dict[str, Any]
    files: tuple[str, ...]
    """Paths of the Parquet files below the folder."""
    bytes: int
    """Their size."""
    rows: int

    def read(self) -> pa.Table:
        """Return all rows. For sources that fit into every task."""
        storage = Storage(self.folder, self.storage_options)
        parts = []
        for path in self.files:
            with storage.open(path) as file:
                parts.append(pq.read_table(file, columns=self.schema.names).cast(self.schema))
        return pa.concat_tables([self.schema.empty_table(), *parts]).combine_chunks()

    def index(self, rows: pa.Table) -> SourceIndex:
        """Return what finds some of the source's rows."""
        start = None if self.valid_from is None else instants(rows[self.valid_from], self.zone)
        return SourceIndex([rows[name] for name in self.key], start)

    def columns(self, rows: pa.Table, positions: Positions) -> dict[str, pa.ChunkedArray]:
        """Return the joined columns, named as among the events, of the rows at `positions`; null for -1."""
        taken = pa.array(positions, mask=positions < 0)
        return {joined: rows[own].take(taken) for own, joined in self.joined.items()}


def source_plan(use_case: UseCase, name: str, version: Version) -> SourcePlan:
    """Return the plan of one of a use case's sources and the version of it that is joined."""
    source = use_case.sources[name]
    names = [*source.join.values(), *(column.name for column in source.columns)]
    files = version.files("rows", ".parquet")
    return SourcePlan(
        name=name,
        event_key=tuple(source.join),
        key=tuple(source.join.values()),
        valid_from=source.valid_from,
        zone="UTC" if use_case.time is None else use_case.time.timezone,
        unmatched=source.unmatched,
        schema=pa.schema([(n, ARROW_TYPES[source.contract.column(n).type]) for n in names]),
        joined={column.name: joined_name(name, column.name) for column in source.columns},
        folder=version.uri,
        storage_options=dict(version.storage.storage_options),
        files=tuple(file.path for file in files),
        bytes=sum(file.bytes for file in files),
        rows=version.rows,
    )
