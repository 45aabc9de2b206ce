"""What is known of each file before its rows are read: encoding, header, columns, types.

Looks at the beginning of text files and at the footers of columnar ones, on the driver, so that a
source that cannot be read is refused before anything is written. Reading is in `tasks`.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain

import numpy as np
import pyarrow as pa

from pipeline_assets.ingest import columns as cols
from pipeline_assets.ingest.columnar import group_rows, open_columnar, schema_of
from pipeline_assets.ingest.dialect import Dialect
from pipeline_assets.ingest.errors import IngestError
from pipeline_assets.ingest.grammar import read_fields
from pipeline_assets.ingest.json_lines import LINES, JsonLinesParser
from pipeline_assets.ingest.sources import SourceFile
from pipeline_assets.ingest.text_records import record_starts
from pipeline_assets.ingest.text_stream import (
    decoded_blocks,
    detect_encoding,
    is_compressed,
    is_splittable,
    is_text,
    open_source,
    raw_blocks,
)
from pipeline_assets.spec import Contract, Source
from pipeline_assets.spec.suggestions import nearest

_HEAD_BYTES = 2**16
_SAMPLE = 100  # records looked at in files without a header


@dataclass(frozen=True, kw_only=True)
class FilePlan:
    """How to read one file that is not empty."""

    file: SourceFile
    codec: str = "utf-8"
    """Codec of text files."""
    bom: int = 0
    """Length of the byte-order mark."""
    splittable: bool = False
    """Whether a text file may be read from the middle."""
    width: int = 0
    """Fields of a good record of delimited text."""
    positions: list[int] = field(default_factory=list)
    """For each contract column, its position among these."""
    groups: list[int] = field(default_factory=list)
    """Rows of each Parquet row group (ORC: known after `tasks.inspect`)."""
    types: list[pa.DataType] = field(default_factory=list)
    """Types of the contract's columns in a columnar file."""
    ignored: list[str] = field(default_factory=list)
    """Columns that the contract does not know."""
    warnings: list[str] = field(default_factory=list)
    """For whoever watches the run."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How to read a source."""

    files: list[FilePlan]
    """The files that are not empty, in order."""
    types: list[pa.DataType]
    """Type of each contract column in raw."""
    ignored: list[str]
    """Columns that the contract does not know."""
    warnings: list[str]
    """For whoever watches the run."""


def make_plan(
    files: list[SourceFile], source: Source, contract: Contract, *, empty: bool = False
) -> Plan:
    """Look into every file.

    Args:
        files: all of the source.
        source: how they are to be read.
        contract: names and types of the columns.
        empty: all of them may be empty.

    Raises:
        IngestError: a file is damaged, lacks a column, has a wrong delimiter; or all are empty.
    """
    look = {"csv": _delimited, "jsonl": _json_lines}.get(source.format, _columnar)
    with ThreadPoolExecutor(8) as pool:
        plans = list(pool.map(lambda file: look(file, source, contract), files))
    without = [file for file, plan in zip(files, plans) if plan is None]
    found = [plan for plan in plans if plan is not None]
    if not found and not empty:
        names = ", ".join(file.uri for file in without[:3]) + (", …" if len(without) > 3 else "")
        raise IngestError(f"source {source.uri}: nothing to read, {names} empty")
    columnar = source.format in ("parquet", "orc")
    types = [
        cols.raw_type(column.type, [plan.types[i] for plan in found]) if columnar else pa.string()
        for i, column in enumerate(contract.columns)
    ]
    warnings = [f"{file.uri} is empty: left out" for file in without]
    return Plan(
        files=found,
        types=types,
        ignored=list(dict.fromkeys(name for plan in found for name in plan.ignored)),
        warnings=warnings + [warning for plan in found for warning in plan.warnings],
    )


def _delimited(file: SourceFile, source: Source, contract: Contract) -> FilePlan | None:
    dialect = Dialect.of(source.csv)
    codec, bom, records = _head(file, source, dialect)
    if not records:
        return None
    fields = [_fields(record, dialect) for record in records]
    if source.csv.header:
        text = records[0].decode("utf-8", "replace")
        if not is_text(records[0]):
            raise IngestError(f"{file.uri}: the header is not {codec}; set source.csv.encoding")
        if fields[0] is None:
            raise IngestError(f"{file.uri}: a quote in the header is never closed: {text[:100]}")
        names = [name.strip() for name in fields[0]]
        matched = cols.match_columns(file.uri, names, source, contract, header=text)
        width, positions, ignored = len(names), matched.positions, matched.ignored
    else:
        width = len(contract.names)
        _refuse_wrong_widths(file, source, width, records, fields)
        positions, ignored = list(range(width)), []
    plain = len(source.csv.delimiter.encode()) == len(source.csv.quote.encode()) == 1
    return FilePlan(
        file=file,
        codec=codec,
        bom=bom,
        splittable=_splittable(file, codec) and (codec == "utf-8" or plain),
        width=width,
        positions=positions,
        ignored=ignored,
    )


def _json_lines(file: SourceFile, source: Source, contract: Contract) -> FilePlan | None:
    codec, bom, records = _head(file, source, LINES)
    if not records:
        return None
    names = cols.names_in_file(source, contract)
    parser = JsonLinesParser(codec=codec, names=names, null_values=[])
    parser.parse(b"\n".join(records), final=True, first_line=1)
    warnings = []
    if not parser.seen:
        warnings.append(
            f"{file.uri}: none of the first {len(records)} lines is a JSON object; "
            "source.format jsonl wants one object per line"
        )
    for name, column in zip(names, contract.columns):
        if name in parser.seen or not parser.seen:
            continue
        close = nearest(name, sorted(parser.unknown))
        hint = f"; nearest is {close!r} (see source.columns)" if close else ""
        message = f"{file.uri}: no {name!r} in the first {len(records)} objects{hint}"
        if not column.nullable:
            raise IngestError(message + f"; they have {', '.join(sorted(parser.seen))}")
        warnings.append(message)
    return FilePlan(
        file=file, codec=codec, bom=bom, splittable=_splittable(file, codec), warnings=warnings
    )


def _columnar(file: SourceFile, source: Source, contract: Contract) -> FilePlan | None:
    if not file.bytes:
        return None
    with open_columnar(file.uri, source.format) as opened:
        schema = schema_of(opened)
        matched = cols.match_columns(file.uri, schema.names, source, contract)
        return FilePlan(
            file=file,
            types=[schema.field(position).type for position in matched.positions],
            groups=group_rows(opened) if source.format == "parquet" else [],
            ignored=matched.ignored,
        )


def _head(file: SourceFile, source: Source, dialect: Dialect) -> tuple[str, int, list[bytes]]:
    """Codec, length of the byte-order mark and the first records that are not blank."""
    with open_source(file.uri) as reader:
        blocks = raw_blocks(reader, file.uri, _HEAD_BYTES)
        first = next(blocks, b"")
        codec, bom = detect_encoding(first, source.csv.encoding)
        decoded = decoded_blocks(chain([first], blocks), codec=codec, skip=bom)
        for buffer, records in record_starts(decoded, dialect, block_bytes=_HEAD_BYTES):
            content = np.flatnonzero(records.end > records.start)[:_SAMPLE]
            if len(content):
                return codec, bom, [buffer[records.start[i] : records.end[i]] for i in content]
    return codec, bom, []


def _fields(record: bytes, dialect: Dialect) -> list[str] | None:
    read = read_fields(record, 0, dialect)
    return None if read is None else [f.value.decode("utf-8", "replace") for f in read[0]]


def _splittable(file: SourceFile, codec: str) -> bool:
    return not is_compressed(file.uri) and is_splittable(codec)


def _refuse_wrong_widths(
    file: SourceFile,
    source: Source,
    width: int,
    records: list[bytes],
    fields: list[list[str] | None],
) -> None:
    """Without a header only the number of fields can tell that a file is not what was declared."""
    widths = [len(values) for values in fields if values is not None]
    if width in widths:
        return
    usual = max(set(widths), key=widths.count) if widths else 0
    text = records[0].decode("utf-8", "replace")
    other = cols.suggest_delimiter(text, width, source.csv.delimiter)
    advice = f"; {cols.delimiter_advice(other)}?" if other and usual < width else ""
    raise IngestError(
        f"{file.uri}: none of the first {len(records)} records has the contract's {width} fields, "
        f"most have {usual} with the delimiter {source.csv.delimiter!r}{advice}"
    )
