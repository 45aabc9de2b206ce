"""Parquet and ORC to Arrow columns of the raw types; what does not fit a type becomes text."""

# pyright: reportAttributeAccessIssue=false
# (the functions of pyarrow.compute are made at import, type checkers do not see them)
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.orc as pa_orc
import pyarrow.parquet as pq

from pipeline_assets.ingest.batch import Batch
from pipeline_assets.ingest.calendar_years import beyond_years, malformed_rows
from pipeline_assets.ingest.errors import IngestError
from pipeline_assets.ingest.local_time import instant_columns, to_instants

_BATCH_ROWS = 65_536


@contextmanager
def open_columnar(uri: str, file_format: str) -> Iterator[pq.ParquetFile | pa_orc.ORCFile]:
    """Open a Parquet or ORC file.

    Raises:
        IngestError: where it is damaged, truncated or of another format.
    """
    try:
        with fsspec.open(uri, "rb") as file:  # pyright: ignore[reportGeneralTypeIssues]
            if file_format == "orc":
                yield pa_orc.ORCFile(file)
            else:
                # Spark's old INT96 timestamps reach beyond what nanoseconds can hold.
                yield pq.ParquetFile(file, coerce_int96_timestamp_unit="us")
    except FileNotFoundError as error:
        raise IngestError(
            f"{uri}: the file is gone; run again when the source is at rest"
        ) from error
    except (pa.ArrowException, OSError) as error:
        name = {"orc": "ORC", "parquet": "Parquet"}[file_format]
        raise IngestError(
            f"{uri}: not a readable {name} file, perhaps damaged or truncated ({error}); "
            "fetch it again or take it out of the source"
        ) from error


def schema_of(file: pq.ParquetFile | pa_orc.ORCFile) -> pa.Schema:
    """Arrow schema of the file."""
    return file.schema if isinstance(file, pa_orc.ORCFile) else file.schema_arrow


def group_rows(file: pq.ParquetFile | pa_orc.ORCFile) -> list[int]:
    """Rows of each row group or stripe. Stripes must be read for it: their narrowest column is."""
    if isinstance(file, pq.ParquetFile):
        return [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
    widths = [field.type.bit_width if _is_fixed(field.type) else 10_000 for field in file.schema]
    narrow = [file.schema.names[widths.index(min(widths))]]
    return [file.read_stripe(i, columns=narrow).num_rows for i in range(file.nstripes)]


def read_groups(
    file: pq.ParquetFile | pa_orc.ORCFile,
    *,
    groups: range,
    first_row: int,
    names: list[str],
    types: list[pa.DataType],
    contract_types: list[str],
    timezone: str,
) -> Iterator[Batch]:
    """Read row groups or stripes, whose first row is number `first_row` of the file (1-based)."""
    row = first_row
    instants = instant_columns(file) if timezone != "UTC" else set()
    for table in _tables(file, groups, names):
        lines = np.arange(row, row + table.num_rows)
        row += table.num_rows
        malformed = []
        beyond = beyond_years(table, names, types, timezone)
        if beyond is not None:
            outside = table.filter(pa.array(beyond))
            malformed = malformed_rows(outside, names, lines[beyond].tolist())
            table, lines = table.filter(pa.array(~beyond)), lines[~beyond]
        columns = [
            to_raw(
                to_instants(table.column(name), "UTC") if name in instants else table.column(name),
                kind,
                contract_type,
                timezone,
            )
            for name, kind, contract_type in zip(names, types, contract_types)
        ]
        yield Batch(columns=columns, lines=pa.array(lines, pa.int64()), malformed=malformed)


def to_raw(
    column: pa.ChunkedArray, kind: pa.DataType, contract_type: str, timezone: str = "UTC"
) -> pa.ChunkedArray:
    """Cast a column to its raw type (see `columns.raw_type`).

    Timestamps without an offset are in the IANA zone `timezone`; those that become text stay as they are.
    """
    if column.type == kind:
        return column
    if pa.types.is_timestamp(kind):
        if column.type.tz is None:
            return to_instants(column, timezone).cast(kind)
        # Nanoseconds are cut off.
        return column.cast(pa.timestamp("us", tz=column.type.tz), safe=False).cast(kind)
    if kind == pa.string():
        return _to_text(column, contract_type)
    return column.cast(kind)


def _tables(
    file: pq.ParquetFile | pa_orc.ORCFile, groups: range, names: list[str]
) -> Iterator[pa.Table]:
    if isinstance(file, pa_orc.ORCFile):
        for index in groups:
            yield pa.Table.from_batches([file.read_stripe(index, columns=names)])
    elif len(groups):
        batches = file.iter_batches(
            batch_size=_BATCH_ROWS, row_groups=list(groups), columns=names, use_threads=False
        )
        for batch in batches:
            yield pa.Table.from_batches([batch])


def _to_text(column: pa.ChunkedArray, contract_type: str) -> pa.ChunkedArray:
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _to_text(column.cast(kind.value_type), contract_type)
    if pa.types.is_floating(kind):
        return _float_text(column, whole=contract_type.startswith("int"))
    if pa.types.is_timestamp(kind):
        column = column.cast(pa.timestamp("us", tz=kind.tz), safe=False)
        if kind.tz not in (None, "UTC"):
            column = column.cast(pa.timestamp("us", tz="UTC"))
    try:
        return column.cast(pa.string())
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):  # nested values, bytes that are no text
        return pa.chunked_array([[_text(value) for value in column.to_pylist()]], pa.string())


def _float_text(column: pa.ChunkedArray, *, whole: bool) -> pa.ChunkedArray:
    """NaN is missing; where the contract wants integers, whole numbers are written as such."""
    column = column.cast(pa.float64())
    column = pc.if_else(pc.is_nan(column), pa.scalar(None, pa.float64()), column)
    text = column.cast(pa.string())
    if not whole:
        return text
    is_whole = pc.and_(pc.equal(column, pc.floor(column)), pc.less(pc.abs(column), 2.0**63))
    integers = pc.if_else(is_whole, column, pa.scalar(None, pa.float64())).cast(pa.int64())
    return pc.if_else(is_whole, integers.cast(pa.string()), text)


def _text(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False, default=_text)
    return str(value)


def _is_fixed(kind: pa.DataType) -> bool:
    return pa.types.is_primitive(kind)
