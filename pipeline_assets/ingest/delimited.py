"""Delimited text to Arrow columns, all strings as written; null markers become null.

Whole blocks go through Arrow's CSV parser. What it cannot do (say which lines were bad, keep them,
read on after an undecodable byte) is done before, by `records`; irregular records are read with the
grammar, one by one, and put back in their place.
"""

# pyright: reportAttributeAccessIssue=false
# (the functions of pyarrow.compute are made at import, type checkers do not see them)
from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from pipeline_assets.ingest.batch import Batch, Malformed
from pipeline_assets.ingest.dialect import Dialect
from pipeline_assets.ingest.grammar import read_fields
from pipeline_assets.ingest.records import (
    IRREGULAR,
    REGULAR,
    UNTERMINATED,
    Records,
    find_records,
)
from pipeline_assets.ingest.text_stream import is_text, verbatim

_CHECKED_TOGETHER = 64  # records whose bytes are checked at once, before looking at each

Slow = dict[int, list[str | None]]


class DelimitedParser:
    """Turns buffers of UTF-8 into batches.

    Args:
        dialect: how the text is written.
        codec: how it was encoded in the file, for the text of malformed records.
        width: number of fields of a good record.
        columns: for each contract column, its position among the fields.
    """

    def __init__(self, dialect: Dialect, *, codec: str, width: int, columns: list[int]) -> None:
        self.dialect, self.codec, self.width, self.columns = dialect, codec, width, columns
        self._nulls = frozenset(dialect.null_values)

    def parse(self, buffer: bytes, *, final: bool, first_line: int) -> tuple[Batch, Records]:
        """Parse the complete records of a buffer whose first byte is on line `first_line`."""
        records = find_records(buffer, self.dialect, final=final)
        status = np.where(records.end > records.start, records.status, -1)  # -1: a blank line
        bad = self._bad(buffer, records, status)
        fast = (status == REGULAR) & (records.fields == self.width)
        slow: Slow = {}
        for index in np.flatnonzero(status == IRREGULAR):
            if index not in bad:
                self._read_slowly(buffer, records, int(index), slow, bad)
        fast[list(bad)] = False
        columns = self._read_fast(buffer, records, fast)
        if columns is None:  # Arrow counts other records than we do: the grammar decides
            for index in np.flatnonzero(fast):
                self._read_slowly(buffer, records, int(index), slow, bad)
            fast[:] = False
            columns = [pa.array([], pa.string()) for _ in self.columns]
        order = np.flatnonzero(fast)
        if slow:
            added = [pa.array(values, pa.string()) for values in zip(*slow.values())]
            order = np.concatenate([order, np.fromiter(slow, np.int64, len(slow))])
            places = pa.array(np.argsort(order))
            columns = [
                pa.concat_arrays([*_chunks(column), extra]).take(places)
                for column, extra in zip(columns, added)
            ]
            order.sort()
        malformed = [
            Malformed(
                line=int(first_line + records.line[index]),
                reason=bad[index],
                text=verbatim(self._record(buffer, records, index), self.codec),
            )
            for index in sorted(bad)
        ]
        lines = pa.array(first_line + records.line[order], pa.int64())
        return Batch(columns=columns, lines=lines, malformed=malformed), records

    def _bad(self, buffer: bytes, records: Records, status: np.ndarray) -> dict[int, str]:
        """Index and reason of the records that are known to be malformed without reading fields."""
        bad = {
            int(index): wrong_width(int(records.fields[index]), self.width)
            for index in np.flatnonzero((status == REGULAR) & (records.fields != self.width))
        }
        for index in np.flatnonzero(status == UNTERMINATED):
            bad[int(index)] = "unterminated quote"
        for first in range(0, len(status), _CHECKED_TOGETHER):
            last = min(first + _CHECKED_TOGETHER, len(status)) - 1
            if is_text(buffer[records.start[first] : records.end[last]]):
                continue
            for index in range(first, last + 1):
                if not is_text(self._record(buffer, records, index)):
                    bad[index] = f"undecodable bytes: not {self.codec}"
        return bad

    def _read_slowly(
        self, buffer: bytes, records: Records, index: int, slow: Slow, bad: dict[int, str]
    ) -> None:
        """Read one record with the grammar into `slow`, or say in `bad` what is wrong with it."""
        read = read_fields(self._record(buffer, records, index), 0, self.dialect)
        if read is None:
            bad[index] = "unterminated quote"
        elif len(read[0]) != self.width:
            bad[index] = wrong_width(len(read[0]), self.width)
        else:
            chosen = [read[0][position] for position in self.columns]
            texts = [(field.value.decode("utf-8"), field.quoted) for field in chosen]
            slow[index] = [
                None if not quoted and text in self._nulls else text for text, quoted in texts
            ]

    def _read_fast(
        self, buffer: bytes, records: Records, fast: np.ndarray
    ) -> list[pa.Array | pa.ChunkedArray] | None:
        """Read the chosen records with Arrow; None if it does not find as many."""
        chosen = np.flatnonzero(fast)
        if not len(chosen):
            return [pa.array([], pa.string()) for _ in self.columns]
        runs = np.split(chosen, np.flatnonzero(np.diff(chosen) != 1) + 1)
        view = memoryview(buffer)
        parts = [view[records.start[run[0]] : records.following[run[-1]]] for run in runs]
        text = parts[0] if len(parts) == 1 else b"".join(parts)
        names = [str(position) for position in range(self.width)]
        nulls_later = self.dialect.skip_initial_space
        try:
            table = pa_csv.read_csv(
                pa.BufferReader(text),
                pa_csv.ReadOptions(use_threads=False, block_size=len(text) + 1, column_names=names),
                pa_csv.ParseOptions(
                    delimiter=self.dialect.delimiter.decode(),
                    quote_char=self.dialect.quote.decode(),
                    newlines_in_values=self.dialect.multiline,
                ),
                pa_csv.ConvertOptions(
                    check_utf8=False,
                    column_types=dict.fromkeys(names, pa.string()),
                    include_columns=list(dict.fromkeys(str(i) for i in self.columns)),
                    null_values=[] if nulls_later else list(self.dialect.null_values),
                    strings_can_be_null=not nulls_later,
                    quoted_strings_can_be_null=False,
                ),
            )
        except pa.ArrowInvalid:
            return None
        if table.num_rows != len(chosen):
            return None
        columns: list[pa.Array | pa.ChunkedArray] = [table[str(i)] for i in self.columns]
        if nulls_later:
            columns = [self._without_initial_spaces(column) for column in columns]
        return columns

    def _without_initial_spaces(self, column: pa.ChunkedArray | pa.Array) -> pa.ChunkedArray:
        stripped = pc.utf8_ltrim(column, " ")
        markers = pa.array(self.dialect.null_values, pa.string())
        return pc.if_else(
            pc.is_in(stripped, value_set=markers), pa.scalar(None, pa.string()), stripped
        )

    @staticmethod
    def _record(buffer: bytes, records: Records, index: int) -> bytes:
        return buffer[records.start[index] : records.end[index]]


def wrong_width(fields: int, width: int) -> str:
    """Reason of a record with the wrong number of fields."""
    return f"wrong number of fields: {fields} instead of {width}"


def _chunks(column: pa.Array | pa.ChunkedArray) -> Iterable[pa.Array]:
    return column.chunks if isinstance(column, pa.ChunkedArray) else [column]
