"""Which column of a file is which column of the contract, and what types raw columns have."""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from pipeline_assets.engine.arrow_types import ARROW_TYPES
from pipeline_assets.ingest.errors import IngestError
from pipeline_assets.spec import Contract, Source
from pipeline_assets.spec.contract import ColumnType
from pipeline_assets.spec.suggestions import nearest

_DELIMITERS = {",": "','", ";": "';'", "\t": r'"\t"', "|": "'|'"}

_DDL: dict[pa.DataType, str] = {
    pa.string(): "string",
    pa.int32(): "int",
    pa.int64(): "bigint",
    pa.float32(): "float",
    pa.float64(): "double",
    pa.bool_(): "boolean",
    pa.date32(): "date",
    pa.timestamp("us", tz="UTC"): "timestamp",
}

_LOSSLESS: dict[str, tuple[pa.DataType, ...]] = {
    "int32": (pa.int8(), pa.int16(), pa.int32(), pa.uint8(), pa.uint16()),
    "int64": (pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32()),
    "float32": (
        pa.float16(), pa.float32(), pa.int8(), pa.int16(), pa.uint8(), pa.uint16(),
    ),
    "float64": (
        pa.float16(), pa.float32(), pa.float64(),
        pa.int8(), pa.int16(), pa.int32(), pa.uint8(), pa.uint16(), pa.uint32(),
    ),
    "boolean": (pa.bool_(),),
    "date": (pa.date32(),),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Matched:
    """The columns of one file against the contract."""

    positions: list[int]
    """For each contract column, its position in the file."""
    ignored: list[str]
    """Columns of the file that the contract does not know."""


def names_in_file(source: Source, contract: Contract) -> list[str]:
    """For each contract column, the name it has in the files."""
    return [source.columns.get(name, name) for name in contract.names]


def match_columns(
    uri: str, found: Sequence[str], source: Source, contract: Contract, *, header: str = ""
) -> Matched:
    """Find the contract's columns among those of a file.

    Args:
        uri: the file, for messages.
        found: names of its columns in order.
        source: renamed columns, and what to do with extra ones.
        contract: the columns wanted.
        header: the header as text, to guess the delimiter when it is wrong.

    Raises:
        IngestError: columns are missing, there twice, or extra where that is forbidden.
    """
    wanted = names_in_file(source, contract)
    missing = [name for name in wanted if name not in found]
    if missing:
        raise IngestError(_missing_message(uri, missing, found, source, contract, header))
    repeated = sorted({name for name in wanted if list(found).count(name) > 1})
    if repeated:
        raise IngestError(f"{uri}: the column {repeated[0]!r} is there more than once")
    ignored = [name for name in found if name not in wanted]
    if ignored and source.extra_columns == "fail":
        raise IngestError(
            f"{uri}: columns that the contract does not know: {', '.join(ignored)}; "
            "add them to the contract or set source.extra_columns: ignore"
        )
    return Matched(positions=[list(found).index(name) for name in wanted], ignored=ignored)


def suggest_delimiter(text: str, wanted: int, current: str) -> str | None:
    """The delimiter that splits a line into the wanted number of fields or nearly, else None."""
    counts = {d: text.count(d) + 1 for d in _DELIMITERS if d != current}
    best = max(counts, key=lambda d: counts[d])
    return best if wanted > 1 and counts[best] >= max(2, wanted) else None


def delimiter_advice(delimiter: str) -> str:
    """What to write into defs.yaml."""
    return f"set source.csv.delimiter: {_DELIMITERS[delimiter]}"


def raw_type(contract_type: ColumnType, found: Sequence[pa.DataType]) -> pa.DataType:
    """Type of a raw column: the contract's, where every file's type fits into it, else text."""
    if contract_type == "timestamp" and all(pa.types.is_timestamp(kind) for kind in found):
        return ARROW_TYPES[contract_type]
    if all(kind in _LOSSLESS.get(contract_type, ()) for kind in found):
        return ARROW_TYPES[contract_type]
    return pa.string()


def ddl_type(kind: pa.DataType) -> str:
    """Name of a raw type in Spark's DDL."""
    return _DDL[kind]


def raw_arrow_type(ddl: str) -> pa.DataType:
    """Inverse of `ddl_type`."""
    return next(kind for kind, name in _DDL.items() if name == ddl)


def _missing_message(
    uri: str,
    missing: Sequence[str],
    found: Sequence[str],
    source: Source,
    contract: Contract,
    header: str,
) -> str:
    delimiter = source.csv.delimiter
    if len(found) == 1 and len(contract.names) > 1 and header:
        other = suggest_delimiter(header, len(contract.names), delimiter)
        if other:
            return (
                f"{uri}: with the delimiter {delimiter!r} the header is a single column "
                f"{_short(found[0])}; it splits into {header.count(other) + 1} with {other!r}: "
                f"{delimiter_advice(other)}"
            )
    parts = []
    for name in missing:
        close = nearest(name, [other for other in found if other not in missing])
        contract_name = dict(zip(names_in_file(source, contract), contract.names))[name]
        hint = (
            f" (nearest is {close!r}; if that is it, set source.columns: {{{contract_name}: {close}}})"
            if close
            else ""
        )
        parts.append(f"{name!r}{hint}")
    text = f"{uri}: missing column{'s' if len(parts) > 1 else ''} {', '.join(parts)}"
    text += f"; the file has {', '.join(_short(name) for name in found)}"
    if len(missing) == len(contract.names) and len(found) == len(missing) and header:
        text += ". If its first line is data already, set source.csv.header: false"
    return text


def _short(name: str) -> str:
    return repr(name if len(name) <= 60 else name[:57] + "…")
