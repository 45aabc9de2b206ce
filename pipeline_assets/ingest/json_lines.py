"""JSON lines to Arrow columns, all strings: numbers as written, nested values as JSON text."""

import json
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline_assets.ingest.batch import Batch, Malformed
from pipeline_assets.ingest.dialect import Dialect
from pipeline_assets.ingest.records import Records, find_records
from pipeline_assets.ingest.text_stream import is_text, verbatim

LINES = Dialect(multiline=False)
"""How records are told apart: each line is one."""


class _Number(str):
    """A number as it is written; a string would lose the difference inside nested values."""


class _RepeatedKey(Exception):
    """An object that says two things of one key; the argument is the key."""


class JsonLinesParser:
    """Turns buffers of UTF-8 into batches; a key that an object lacks is a missing value.

    Args:
        codec: how the text was encoded in the file, for the text of malformed lines.
        names: for each contract column, its key in the objects.
        null_values: texts that stand for a missing value.
    """

    def __init__(self, *, codec: str, names: list[str], null_values: list[str]) -> None:
        self.codec, self.names, self._nulls = codec, names, frozenset(null_values)
        self._known = frozenset(names)
        self._decoder = json.JSONDecoder(
            parse_float=_Number,
            parse_int=_Number,
            parse_constant=_Number,
            object_pairs_hook=_object,
        )
        self.unknown: set[str] = set()
        """Keys seen that no contract column has."""
        self.seen: set[str] = set()
        """Keys seen."""

    def parse(self, buffer: bytes, *, final: bool, first_line: int) -> tuple[Batch, Records]:
        """Parse the complete lines of a buffer whose first byte is on line `first_line`."""
        records = find_records(buffer, LINES, final=final, count_fields=False)
        rows: list[list[str | None]] = []
        lines: list[int] = []
        malformed = []
        for index in np.flatnonzero(records.end > records.start):
            text = buffer[records.start[index] : records.end[index]]
            line = int(first_line + records.line[index])
            row = self._row(text)
            if isinstance(row, str):
                malformed.append(Malformed(line=line, reason=row, text=verbatim(text, self.codec)))
            elif row is not None:
                rows.append(row)
                lines.append(line)
        columns = [pa.array(values, pa.string()) for values in zip(*rows)] or [
            pa.array([], pa.string()) for _ in self.names
        ]
        batch = Batch(columns=columns, lines=pa.array(lines, pa.int64()), malformed=malformed)
        return batch, records

    def _row(self, line: bytes) -> list[str | None] | str | None:
        """The values of one line; the reason where it is malformed; None for a blank one."""
        if not is_text(line):
            return f"undecodable bytes: not {self.codec}"
        text = line.decode("utf-8").strip(" \t")
        if not text:
            return None
        try:
            value = self._decoder.decode(text)
        except json.JSONDecodeError as error:
            return f"invalid JSON: {error.msg} at character {error.pos + 1}"
        except _RepeatedKey as error:
            return f"repeated key: {error.args[0]!r}"
        except RecursionError:
            return "invalid JSON: nested too deeply"
        if type(value) is not dict:
            return f"not a JSON object: {_kind(value)}"
        if not self.seen.issuperset(value):
            self.seen.update(value)
            self.unknown.update(value.keys() - self._known)
        row: list[str | None] = []
        for name in self.names:
            item = value.get(name)
            if type(item) is str:
                row.append(None if item in self._nulls else item)
            elif item is None or type(item) is _Number:
                row.append(item)
            else:
                row.append(json_text(item))
        if "\\u" in text and any(item is not None and not _is_unicode(item) for item in row):
            return "invalid JSON: half of a surrogate pair"
        return row


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen = set()
        for key, _ in pairs:
            if key in seen:
                raise _RepeatedKey(key)
            seen.add(key)
    return found


def json_text(value: Any) -> str:
    """JSON text of a value whose numbers are kept as written."""
    if isinstance(value, _Number):
        return str(value)
    if isinstance(value, dict):
        pairs = (f"{json_text(str(key))}: {json_text(item)}" for key, item in value.items())
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(json_text(item) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False, default=str)


def _kind(value: Any) -> str:
    names = {list: "an array", bool: "a boolean", _Number: "a number", str: "a text"}
    return names.get(type(value), "null")


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)
