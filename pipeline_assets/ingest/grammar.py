"""Reads one record of delimited text, field by field: slow, and right for every text.

It is the definition that the fast ways (`records`, Arrow in `delimited`) are held to.
"""

from dataclasses import dataclass

from pipeline_assets.ingest.dialect import Dialect


@dataclass(frozen=True)
class Field:
    """A field as the grammar reads it."""

    value: bytes
    quoted: bool


def read_fields(buffer: bytes, start: int, dialect: Dialect) -> tuple[list[Field], int] | None:
    """Read the record that begins at `start` with the grammar itself.

    Returns its fields and the position of its line end (or of the end of the buffer); None when a
    quoted field is still open at the end of the buffer.
    """
    fields, position, size = [], start, len(buffer)
    while True:
        match = dialect.field.match(buffer, position)
        if match is None:
            return None
        if match.group(1) is not None:
            inside = match.group(1).replace(dialect.quote * 2, dialect.quote)
            fields.append(Field(inside + match.group(2), True))
        else:
            fields.append(Field(match.group(3), False))
        position = match.end()
        if position == size or not buffer.startswith(dialect.delimiter, position):
            return fields, position
        position += len(dialect.delimiter)
