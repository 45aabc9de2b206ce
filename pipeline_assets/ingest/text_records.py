"""Streams blocks of text through a parser: carries incomplete records over, counts lines."""

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from pipeline_assets.ingest.batch import Batch
from pipeline_assets.ingest.dialect import Dialect
from pipeline_assets.ingest.records import Records, find_records
from pipeline_assets.ingest.text_stream import BLOCK_BYTES

Parse = Callable[..., tuple[Batch, Records]]


def read_batches(
    blocks: Iterable[bytes],
    parse: Parse,
    *,
    first_line: int,
    header: Dialect | None = None,
    block_bytes: int = BLOCK_BYTES,
) -> Iterator[Batch]:
    """Parse text that begins at the start of a record on line `first_line`.

    Args:
        blocks: UTF-8, of any sizes.
        parse: called as `parse(buffer, final=…, first_line=…)`; takes the complete records.
        first_line: 1-based.
        header: with it, the first record that is not blank is left out.
        block_bytes: bytes given to the parser at a time, unless a record is longer.
    """
    line, skip = first_line, header
    for buffer, final, take in _buffers(blocks, block_bytes):
        if skip is not None:
            cut, lines, found = _after_header(buffer, skip, final)
            take(cut)
            line += lines
            skip = None if found else skip
            continue
        batch, records = parse(buffer, final=final, first_line=line)
        take(records.consumed)
        line += records.lines
        yield batch


def record_starts(
    blocks: Iterable[bytes], dialect: Dialect, *, block_bytes: int = BLOCK_BYTES
) -> Iterator[tuple[bytes, Records]]:
    """The text in pieces of whole records, each with the places of its records."""
    for buffer, final, take in _buffers(blocks, block_bytes):
        records = find_records(buffer, dialect, final=final, count_fields=False)
        take(records.consumed)
        yield buffer, records


def _buffers(
    blocks: Iterable[bytes], block_bytes: int
) -> Iterator[tuple[bytes, bool, Callable[[int], None]]]:
    """Buffers to be consumed from the front: what is left comes again, with more behind it."""
    source, rest, wanted, final = iter(blocks), b"", block_bytes, False
    while not final or rest:
        parts, size = [rest], len(rest)
        while size < wanted and not final:
            block = next(source, None)
            if block is None:
                final = True
            else:
                parts.append(block)
                size += len(block)
        buffer, taken = b"".join(parts), 0

        def take(count: int) -> None:
            nonlocal taken
            taken = count

        yield buffer, final, take
        rest = buffer[taken:]
        # A record longer than the buffer: double, so that the work stays linear in its length.
        wanted = max(block_bytes, len(rest) + 1, 2 * len(rest) if not taken else 0)
        if final and rest and not taken:
            raise AssertionError(f"{len(rest)} bytes at the end of a file belong to no record")


def _after_header(buffer: bytes, dialect: Dialect, final: bool) -> tuple[int, int, bool]:
    """Bytes and lines up to the end of the first record that is not blank, and whether there is one."""
    records = find_records(buffer, dialect, final=final, count_fields=False)
    content = np.flatnonzero(records.end > records.start)
    if not len(content):
        return records.consumed, records.lines, False
    index = int(content[0])
    last = index + 1 == len(records.start)
    lines = records.lines if last else int(records.line[index + 1])
    return int(records.following[index]), lines, True
