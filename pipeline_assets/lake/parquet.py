"""Parquet files whose bytes depend on the rows and their order alone. Pure pyarrow: it runs inside tasks.

Both engines hand over the same rows in differently sized batches, with different nullability, string
layouts and nested field names; all of that is evened out here, and the hash is computed while writing.
"""

import hashlib
from collections.abc import Iterable
from types import TracebackType
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline_assets.lake.manifest import FileEntry
from pipeline_assets.lake.storage import Storage

ROW_GROUP_ROWS = 131_072
"""Rows of every row group but the last."""


def write_parquet(
    table: pa.Table,
    uri: str,
    *,
    storage_options: dict[str, Any] | None = None,
    path: str | None = None,
) -> FileEntry:
    """Write a table as one Parquet file, whole or not at all.

    Args:
        table: The rows, in the order in which they are to be written.
        uri: Where to, any fsspec URI.
        storage_options: Options of the fsspec file system.
        path: Path for the returned entry, relative to the version's folder; the file's name by default.

    Raises:
        LakeError: where the storage refuses.
    """
    with ParquetPart(uri, table.schema, storage_options=storage_options, path=path) as part:
        part.write(table)
    return part.entry


class ParquetPart:
    """Writes a Parquet file in batches of any size, holding at most one row group in memory.

    >>> with ParquetPart(uri, schema) as part:                                   # doctest: +SKIP
    ...     for batch in batches:
    ...         part.write(batch)
    >>> part.entry.rows                                                          # doctest: +SKIP
    """

    def __init__(
        self,
        uri: str,
        schema: pa.Schema,
        *,
        storage_options: dict[str, Any] | None = None,
        path: str | None = None,
    ) -> None:
        folder, _, name = uri.rpartition("/")
        self._path = path if path is not None else name
        self._schema = canonical_schema(schema)
        self._file = Storage(folder, storage_options).create(name)
        self._pending: list[pa.Table] = []
        self._pending_rows = 0
        self._rows = 0
        self._entry: FileEntry | None = None

    def __enter__(self) -> "ParquetPart":
        self._hashing = _HashingFile(self._file.__enter__())
        self._writer = pq.ParquetWriter(
            pa.PythonFile(self._hashing, mode="w"),
            self._schema,
            # Numbers rarely repeat enough for a dictionary: with one, and at level 3, 500,000
            # validated rows took 2.5 times as long and a fifth more space.
            compression="zstd",
            compression_level=1,
            use_dictionary=_text_columns(self._schema),  # pyright: ignore[reportArgumentType]
            store_schema=False,
            write_page_index=False,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            try:
                self._flush(everything=True)
                self._writer.close()
            except BaseException as failure:
                self._hashing.abandon()
                self._writer.close()
                self._file.__exit__(type(failure), failure, failure.__traceback__)
                raise
            self._entry = FileEntry(
                path=self._path,
                bytes=self._hashing.size,
                sha256=self._hashing.digest.hexdigest(),
                rows=self._rows,
            )
        else:
            # Closing it writes the footer, which nobody wants any more; not closing it warns later.
            self._hashing.abandon()
            self._writer.close()
        self._file.__exit__(kind, error, trace)

    @property
    def entry(self) -> FileEntry:
        """Size, hash and rows; known once the file is complete."""
        if self._entry is None:
            raise ValueError("the file is not complete: leave the `with` block first")
        return self._entry

    @property
    def rows(self) -> int:
        """Rows written so far."""
        return self._rows

    def write(self, rows: pa.Table | pa.RecordBatch) -> None:
        """Append rows. Raises `pyarrow.ArrowInvalid` where they do not fit the schema."""
        table = rows if isinstance(rows, pa.Table) else pa.Table.from_batches([rows])
        self._pending.append(canonical(table, self._schema))
        self._pending_rows += table.num_rows
        self._rows += table.num_rows
        if self._pending_rows >= ROW_GROUP_ROWS:
            self._flush(everything=False)

    def _flush(self, *, everything: bool) -> None:
        if not self._pending:
            return
        table = pa.concat_tables(self._pending)
        start = 0
        while table.num_rows - start >= ROW_GROUP_ROWS or (everything and start < table.num_rows):
            # One chunk per column: page boundaries would follow the chunks otherwise.
            group = table.slice(start, ROW_GROUP_ROWS).combine_chunks()
            self._writer.write_table(group, row_group_size=ROW_GROUP_ROWS)
            start += group.num_rows
        rest = table.slice(start)
        self._pending, self._pending_rows = ([rest], rest.num_rows) if rest.num_rows else ([], 0)


def canonical_schema(schema: pa.Schema) -> pa.Schema:
    """Return the schema with one spelling per logical type: nullable, small offsets, UTC microseconds."""
    return pa.schema([pa.field(field.name, canonical_type(field.type)) for field in schema])


def canonical(table: pa.Table, schema: pa.Schema | None = None) -> pa.Table:
    """Return the table cast to `canonical_schema`, without metadata."""
    wanted: pa.Schema = canonical_schema(table.schema) if schema is None else schema
    if table.schema.names != wanted.names:
        raise pa.ArrowInvalid(f"columns {table.schema.names} do not fit {wanted.names}")
    columns = [
        column if column.type == field.type else column.cast(field.type)
        for column, field in zip(table.columns, wanted)
    ]
    return pa.Table.from_arrays(columns, schema=wanted)


def canonical_type(kind: pa.DataType) -> pa.DataType:
    """Return the one spelling of a logical type that is written."""
    if pa.types.is_dictionary(kind):
        return canonical_type(kind.value_type)  # pyright: ignore[reportAttributeAccessIssue]
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        return pa.binary()
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", tz="UTC" if kind.tz else None)  # pyright: ignore[reportAttributeAccessIssue]
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.list_(pa.field("element", canonical_type(kind.value_type)))  # pyright: ignore[reportAttributeAccessIssue]
    if pa.types.is_struct(kind):
        fields: Iterable[pa.Field] = (kind.field(i) for i in range(kind.num_fields))  # pyright: ignore[reportAttributeAccessIssue]
        return pa.struct([pa.field(f.name, canonical_type(f.type)) for f in fields])
    return kind


def _text_columns(schema: pa.Schema) -> list[str]:
    """Paths of the columns of texts, and of lists of texts, as Parquet spells them."""
    paths = {
        pa.string(): "{}",
        pa.list_(pa.field("element", pa.string())): "{}.list.element",
    }
    return [paths[field.type].format(field.name) for field in schema if field.type in paths]


class _HashingFile:
    """Passes bytes on and hashes them. What pyarrow needs of a file, nothing more."""

    closed = False

    def __init__(self, file: IO[bytes]) -> None:
        self._file: IO[bytes] | None = file
        self.digest = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        if self._file is not None:
            self._file.write(data)
        self.size += len(data)
        return len(data)

    def abandon(self) -> None:
        """Drop what is written from now on."""
        self._file = None

    def tell(self) -> int:
        return self.size

    def flush(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False
