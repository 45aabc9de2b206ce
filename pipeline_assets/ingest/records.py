"""Finds where the records of delimited text begin and end: with NumPy where quotes are where they
should be, with a regular expression where they are not. The same code finds the places where a large
file may be split and reads the splits, so both always agree.

Why it is exact: if every second quote, beginning with the first, stands at the start of a field or
right behind the quote before (a doubled quote), then a quoted field is open exactly where the number
of quotes before is odd: by induction, each of them does open a field or goes on with the one that the
quote before seemed to close. Where a quote breaks this rule, it stands inside an unquoted text and
means itself: some records are read with the grammar then, before NumPy takes over again.

What does not belong here: values (see `delimited`), bytes from files (see `text_stream`).
"""

from dataclasses import dataclass

import numpy as np

from pipeline_assets.ingest.dialect import Dialect
from pipeline_assets.ingest.grammar import read_fields

REGULAR, IRREGULAR, UNTERMINATED = 0, 1, 2

_LONGEST_RUN = 1024  # records read with the grammar, at most, before NumPy is tried again

Positions = np.ndarray  # int64 [n], ascending


@dataclass(frozen=True, kw_only=True)
class Records:
    """The records at the beginning of a buffer; all arrays are int64 of the same length."""

    start: Positions
    """First byte."""
    end: Positions
    """Byte after the last one, the line end left out. Equal to `start` for a blank line."""
    following: Positions
    """First byte after the line end."""
    fields: Positions
    """Number of fields, 0 where the status is not REGULAR or they were not asked for."""
    status: Positions
    """REGULAR, IRREGULAR (to be read with the grammar) or UNTERMINATED (a quote nobody closed)."""
    line: Positions
    """0-based number of the first line, counted from the start of the buffer."""
    consumed: int
    """Bytes that the records take up."""
    lines: int
    """Line ends in these bytes."""


def find_records(
    buffer: bytes, dialect: Dialect, *, final: bool, count_fields: bool = True
) -> Records:
    """Find the complete records of a buffer that begins at the start of a record.

    Args:
        buffer: UTF-8, or any text in which ASCII bytes stand for themselves.
        dialect: how the text is written.
        final: whether the text ends with this buffer. Otherwise the last, incomplete record is left
            for the next call, which must get at least one more byte.
        count_fields: whether `fields` and `status` are wanted, or only the places.
    """
    return _Finder(buffer, dialect, final, count_fields).run()


class _Finder:
    def __init__(self, buffer: bytes, dialect: Dialect, final: bool, count_fields: bool):
        self.buffer, self.dialect, self.final = buffer, dialect, final
        self.count_fields = count_fields
        self.bytes = np.frombuffer(buffer, dtype=np.uint8)
        self.line_start, self.line_end = self._line_ends()
        self.quotes = (
            np.flatnonzero(self.bytes == dialect.quote[0])
            if dialect.vectorised and dialect.quote in buffer
            else np.empty(0, np.int64)
        )
        self.delimiters = (
            np.flatnonzero(self.bytes == dialect.delimiter[0])
            if dialect.vectorised and count_fields
            else None
        )
        self.grammar_run = 1
        self.found: list[tuple[Positions, Positions, Positions, Positions, Positions]] = []

    def run(self) -> Records:
        position = 0
        if not self.dialect.vectorised:
            reader = self._with_grammar
        elif not len(self.quotes) or not (self.dialect.multiline or self.count_fields):
            position = self._lines()
            reader = None
        elif not self.dialect.multiline:
            position = self._quoted_lines()
            reader = None
        else:
            reader = self._quoted
        if reader is not None:
            while position < len(self.buffer):
                after = reader(position)
                if after == position:
                    after = self._first_line(position)
                if after == position:
                    break
                position = after
        return self._result(position)

    def _line_ends(self) -> tuple[Positions, Positions]:
        """Positions of each line end and of the byte after it."""
        data, size = self.bytes, len(self.bytes)
        start = np.flatnonzero(data == 10)
        if b"\r" in self.buffer:
            returns = np.flatnonzero(data == 13)
            if not self.final and len(returns) and returns[-1] == size - 1:
                returns = returns[:-1]  # a line feed may follow in the next block
            alone = start[(start == 0) | (data[start - 1] != 13)]
            start = np.sort(np.concatenate([returns, alone]))
            after = np.minimum(start + 1, size - 1)
            end = start + 1 + ((data[start] == 13) & (data[after] == 10) & (after > start))
        else:
            end = start + 1
        if self.final and size and (not len(end) or end[-1] < size):
            start, end = np.append(start, size), np.append(end, size)
        return start, end

    def _lines(self) -> int:
        """No quote anywhere, or the places are all that is wanted: lines are records."""
        starts = np.concatenate([[0], self.line_end[:-1]])[: len(self.line_end)]
        self._add(starts, self.line_start, self.line_end, REGULAR)
        return int(self.line_end[-1]) if len(self.line_end) else 0

    def _quoted_lines(self) -> int:
        """Lines are records although there are quotes: the grammar reads the irregular ones."""
        end, following = self.line_start, self.line_end
        start = np.concatenate([[0], following[:-1]])[: len(following)]
        first = np.searchsorted(self.quotes, start)
        per_line = np.searchsorted(self.quotes, end) - first
        record = np.repeat(np.arange(len(start)), per_line)
        quotes = self.quotes[: len(record)]
        opening = (np.arange(len(quotes)) - first[record]) % 2 == 0
        regular = self._is_regular(quotes, start[record]) | ~opening
        status = per_line % 2
        status[record[~regular]] = IRREGULAR
        if self.dialect.skip_initial_space:
            status[per_line > 0] = IRREGULAR
        for index in np.flatnonzero(status):
            line = self.buffer[start[index] : end[index]]
            if read_fields(line, 0, self.dialect) is None:
                status[index] = UNTERMINATED
        self._add(start, end, following, status)
        return int(following[-1]) if len(following) else 0

    def _quoted(self, position: int) -> int:
        """Records from `position` on, by counting quotes, then some with the grammar if need be."""
        quotes = self.quotes[np.searchsorted(self.quotes, position) :]
        opening = np.arange(len(quotes)) % 2 == 0
        irregular = quotes[~self._is_regular(quotes, position) & opening]
        limit = int(irregular[0]) if len(irregular) else len(self.buffer) + 1
        first = int(np.searchsorted(self.line_end, position, side="right"))
        ends = self.line_start[first:]
        outside = (np.searchsorted(quotes, ends) % 2 == 0) & (ends < limit)
        chosen = first + np.flatnonzero(outside)
        end, following = self.line_start[chosen], self.line_end[chosen]
        start = np.concatenate([[position], following[:-1]])[: len(following)]
        too_long = self._too_long(start, chosen, following)
        if len(too_long):
            kept = slice(0, too_long[0])
            start, end, following = start[kept], end[kept], following[kept]
        status = np.zeros(len(start), np.int64)
        if self.dialect.skip_initial_space:
            bounds = np.searchsorted(quotes, end) - np.searchsorted(quotes, start)
            status[bounds > 0] = IRREGULAR
        self._add(start, end, following, status)
        position = int(following[-1]) if len(following) else position
        if len(irregular) and not len(too_long):
            # Both switches cost something: where irregular quotes are dense, the grammar stays longer.
            self.grammar_run = 1 if len(start) > 32 else min(2 * self.grammar_run, _LONGEST_RUN)
            for _ in range(self.grammar_run):
                after = self._with_grammar(position)
                if after == position:
                    break
                position = after
        return position

    def _with_grammar(self, position: int) -> int:
        """One record with the grammar; `position` where it is incomplete or too long."""
        read = read_fields(self.buffer, position, self.dialect)
        if read is None:
            return position
        index = int(np.searchsorted(self.line_start, read[1]))
        if index == len(self.line_start):
            return position
        start, following = np.full(1, position), self.line_end[index : index + 1]
        if len(self._too_long(start, np.full(1, index), following)):
            return position
        self._add(start, self.line_start[index : index + 1], following, IRREGULAR)
        return int(following[0])

    def _first_line(self, position: int) -> int:
        """No record ends after `position`: the first line on its own, if more bytes cannot help."""
        small = len(self.buffer) - position <= self.dialect.max_record_bytes
        index = int(np.searchsorted(self.line_end, position, side="right"))
        if index == len(self.line_end) or (self.dialect.multiline and not self.final and small):
            return position
        at = slice(index, index + 1)
        self._add(np.full(1, position), self.line_start[at], self.line_end[at], UNTERMINATED)
        return int(self.line_end[index])

    def _is_regular(self, quotes: Positions, first: Positions | int) -> np.ndarray:
        """Per quote, whether it could open a field, the record beginning at `first`."""
        neighbours = np.zeros(256, bool)
        neighbours[[10, 13, self.dialect.quote[0], self.dialect.delimiter[0]]] = True
        return (quotes == first) | neighbours[self.bytes[quotes - 1]]

    def _too_long(self, start: Positions, end_line: Positions, following: Positions) -> Positions:
        """Indices of records of several lines that exceed the longest allowed record."""
        long = np.flatnonzero(following - start > self.dialect.max_record_bytes)
        first_line = np.searchsorted(self.line_end, start[long], side="right")
        return long[end_line[long] > first_line]

    def _add(
        self, start: Positions, end: Positions, following: Positions, status: Positions | int
    ) -> None:
        if not len(start):
            return
        status = np.broadcast_to(np.asarray(status, np.int64), start.shape)
        fields = np.zeros(len(start), np.int64)
        if self.delimiters is not None and (status == REGULAR).any():
            fields = self._count_fields(start, end)
            fields[status != REGULAR] = 0
        self.found.append((start, end, following, fields, status))

    def _count_fields(self, start: Positions, end: Positions) -> Positions:
        assert self.delimiters is not None
        inside = self.delimiters
        if len(self.quotes):
            span = slice(*np.searchsorted(inside, [start[0], end[-1]]))
            inside = inside[span]
            # Regular records have an even number of quotes, so parity may run on from the first;
            # it is wrong only within irregular ones, whose count nobody uses.
            record = np.searchsorted(start, inside, side="right") - 1
            before = np.searchsorted(self.quotes, inside)
            before = before - np.searchsorted(self.quotes, start)[record]
            inside = inside[before % 2 == 0]
        return np.searchsorted(inside, end) - np.searchsorted(inside, start) + 1

    def _result(self, consumed: int) -> Records:
        empty = np.empty(0, np.int64)
        columns = [np.concatenate(parts) for parts in zip(*self.found)] or [empty] * 5
        start, end, following, fields, status = columns
        return Records(
            start=start,
            end=end,
            following=following,
            fields=fields,
            status=status,
            line=np.searchsorted(self.line_end, start, side="right"),
            consumed=consumed,
            lines=int(np.searchsorted(self.line_end, consumed, side="right")),
        )
