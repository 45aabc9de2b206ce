"""Columns that go along with the features, and the rows of entities that are known as positive already.

Both are read from published features, partition by partition, and joined to the scored rows by row id.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa

    from pipeline_assets.lake import Version

TIME_COLUMN = "_time"
"""When the event of a row happened; in the features of a use case with `time`."""

_SEPARATOR = "\x1f"


class DatedFeatures(NamedTuple):
    """The features of one partition."""

    start: dt.datetime
    """First instant of the partition, UTC."""
    end: dt.datetime
    """First instant after it, UTC."""
    version: Version
    """The published features."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Carried:
    """Carried columns of some rows, in ascending order of row id."""

    row_id: NDArray[np.int64]
    """[rows], ascending."""
    event_time: NDArray[np.datetime64] | None
    """[rows], microseconds, UTC."""
    day: NDArray[np.datetime64] | None
    """[rows], in the use case's zone."""
    columns: Mapping[str, NDArray]
    """Name to values [rows]."""

    def of(self, row_ids: NDArray[np.int64]) -> Carried:
        """The rows with these ids, in their order. Raises `ValueError` where one is not here."""
        at = np.searchsorted(self.row_id, row_ids)
        at = np.minimum(at, max(len(self.row_id) - 1, 0))
        unknown = len(row_ids) if not len(self.row_id) else int((self.row_id[at] != row_ids).sum())
        if unknown:
            raise ValueError(
                f"{unknown:,} of {len(row_ids):,} scored rows are not in the features that were read: "
                "materialise tensor_shards of the same features again"
            )
        return Carried(
            row_id=row_ids,
            event_time=None if self.event_time is None else self.event_time[at],
            day=None if self.day is None else self.day[at],
            columns={name: values[at] for name, values in self.columns.items()},
        )


def read_carried(
    features: Sequence[Version], columns: Sequence[str], *, timezone: str | None
) -> Carried:
    """Read the carried columns of feature versions into memory.

    Args:
        features: whose rows are wanted.
        columns: names of the carried columns.
        timezone: that cuts days; None in a use case without `time`.

    Raises:
        ValueError: a version lacks a column, because it was made before it was carried.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    names = ["_row_id", *([TIME_COLUMN] if timezone else []), *columns]
    tables = [_read(version, names) for version in features if version.rows]
    if not tables:
        empty = np.empty(0, dtype=np.int64)
        return Carried(row_id=empty, event_time=None, day=None, columns={})
    table = pa.concat_tables(tables).sort_by("_row_id")
    event_time = day = None
    if timezone:
        instants = table[TIME_COLUMN].cast(pa.timestamp("us", "UTC"))
        event_time = instants.cast(pa.timestamp("us")).to_numpy()
        local = pc.call_function("local_timestamp", [instants.cast(pa.timestamp("us", timezone))])
        day = local.cast(pa.date32()).to_numpy().astype("datetime64[D]")
    return Carried(
        row_id=table["_row_id"].to_numpy(),
        event_time=event_time,
        day=day,
        columns={name: table[name].to_numpy() for name in columns},
    )


def rows_of_known_entities(
    labelled: Sequence[DatedFeatures],
    test: Sequence[DatedFeatures],
    entity: Sequence[str],
    *,
    label_delay: dt.timedelta,
) -> NDArray[np.int64]:
    """Row ids of the test rows whose entity has a positive row with a label known by their partition's start.

    Args:
        labelled: partitions from the start of training on; those whose labels are not known in time are
            passed over.
        test: test partitions.
        entity: carried columns that identify an entity; rows without it are never left out.
        label_delay: labels are known so long after the end of their partition.

    Returns:
        int64 [rows], ascending.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    positive = [
        (part.end, _positive_entities(part.version, entity))
        for part in labelled
        if part.version.rows
    ]
    found = [np.empty(0, dtype=np.int64)]
    for part in test:
        known = [entities for end, entities in positive if end + label_delay <= part.start]
        if not known or not part.version.rows:
            continue
        table = _read(part.version, ["_row_id", *entity])
        is_known = pc.call_function(
            "is_in", [_joined(table, entity)], pc.SetLookupOptions(pa.concat_arrays(known))
        )
        mask = pc.call_function("and", [is_known, _present(table, entity)])
        found.append(table.filter(mask)["_row_id"].to_numpy())
    return np.sort(np.concatenate(found))


def _positive_entities(version: Version, entity: Sequence[str]) -> pa.Array:
    import pyarrow.compute as pc

    table = _read(version, ["label", *entity])
    table = table.filter(pc.call_function("greater", [table["label"], 0.5]))
    table = table.filter(_present(table, entity))
    return _joined(table, entity).unique()


def _present(table: pa.Table, entity: Sequence[str]) -> pa.ChunkedArray:
    import pyarrow.compute as pc

    present = table[entity[0]].is_valid()
    for name in entity[1:]:
        present = pc.call_function("and", [present, table[name].is_valid()])
    return present


def _joined(table: pa.Table, entity: Sequence[str]) -> pa.Array:
    """The entity as one text per row; a missing part is empty text."""
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = [table[name].cast(pa.string()).fill_null("") for name in entity]
    joined = pc.call_function("binary_join_element_wise", [*texts, _SEPARATOR])
    return joined.combine_chunks() if isinstance(joined, pa.ChunkedArray) else joined


def _read(version: Version, names: Sequence[str]) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables = []
    for file in version.files("rows", ".parquet"):
        with version.open(file.path) as stream:
            parquet = pq.ParquetFile(stream)
            missing = [name for name in names if name not in parquet.schema_arrow.names]
            if missing:
                raise ValueError(
                    f"{version.uri} has no column {missing[0]!r}: it was made before the column was "
                    "carried; materialise features again"
                )
            tables.append(parquet.read(columns=list(names)))
    return pa.concat_tables(tables)
