"""What every reader yields: a batch of rows and of malformed records, in source order."""

from dataclasses import dataclass, field

import pyarrow as pa

SOURCE_FILE, SOURCE_LINE = "_source_file", "_source_line"

MALFORMED_SCHEMA = pa.schema(
    [
        (SOURCE_FILE, pa.string()),
        (SOURCE_LINE, pa.int64()),
        ("reason", pa.string()),
        ("text", pa.string()),
    ]
)


@dataclass(frozen=True, kw_only=True)
class Malformed:
    """A record that cannot become a row."""

    line: int
    """1-based number of its first line."""
    reason: str
    """Kind of mistake; what follows a colon is detail."""
    text: str
    """The record as it is in the file; bytes that cannot be decoded as \\\\xNN."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Some rows of one file, and the malformed records among them."""

    columns: list[pa.Array | pa.ChunkedArray]
    """One per contract column, equally long."""
    lines: pa.Array
    """int64, 1-based first line (row number in columnar files) of each row."""
    malformed: list[Malformed] = field(default_factory=list)
