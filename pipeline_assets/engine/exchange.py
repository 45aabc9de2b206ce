"""How rows travel between tasks: as few large messages of Arrow IPC, addressed to a task.

Engines move a large value as easily as a small one, so a shuffle of a thousand messages costs the same
for ten thousand rows or for ten million, and no engine takes the rows apart. Messages are the rows of a
data frame with the columns of `MESSAGE_SCHEMA`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipeline_assets.lake.parquet import canonical

ADDRESS = "_to"
KIND = "_kind"
MESSAGE_SCHEMA = f"{ADDRESS} int, {KIND} int, _rows binary"
"""Address: number of the receiving task's unit of work. Kind: what the rows are, as the receiver knows."""

CHUNK_ROWS = 262_144
"""Rows that a sending task gathers before it makes messages of them, and most rows of a message."""

BATCH_BYTES = 2**28
"""Size of a batch of messages, beyond which another one begins."""


@dataclass(frozen=True, kw_only=True)
class Message:
    """Rows on their way."""

    address: int
    kind: int
    rows: pa.Table


def chunks(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Yield the rows in tables of about `CHUNK_ROWS`."""
    held: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        if batch.num_rows:
            held.append(batch)
            rows += batch.num_rows
        if rows >= CHUNK_ROWS:
            yield canonical(pa.Table.from_batches(held))
            held, rows = [], 0
    if held:
        yield canonical(pa.Table.from_batches(held))


def addressed(rows: pa.Table, addresses: np.ndarray, kind: int) -> Iterator[Message]:
    """Yield the rows of each address; rows of a negative address go nowhere."""
    small = addresses.astype(np.int16) if addresses.max(initial=0) < 2**15 else addresses
    order = np.argsort(small, kind="stable")  # a radix sort for 16 bits
    ordered = addresses[order]
    skipped = int(np.searchsorted(ordered, 0))
    starts = skipped + np.flatnonzero(np.diff(ordered[skipped:], prepend=-1))
    taken = rows.take(pa.array(order[skipped:]))
    for start, end in zip(starts, [*starts[1:], len(order)]):
        for at in range(start, end, CHUNK_ROWS):
            part = taken.slice(at - skipped, min(end - at, CHUNK_ROWS))
            yield Message(address=int(ordered[start]), kind=kind, rows=part)


def pack(messages: Iterable[Message]) -> Iterator[pa.RecordBatch]:
    """Yield messages as rows of `MESSAGE_SCHEMA`, in batches of about `BATCH_BYTES`."""
    sink, held, offsets = pa.BufferOutputStream(), [], [0]
    for message in messages:
        with pa.ipc.new_stream(sink, message.rows.schema) as writer:
            writer.write_table(message.rows)
        held.append(message)
        offsets.append(sink.tell())
        if offsets[-1] >= BATCH_BYTES:
            yield _batch(held, offsets, sink.getvalue())
            sink, held, offsets = pa.BufferOutputStream(), [], [0]
    if held:
        yield _batch(held, offsets, sink.getvalue())


def _batch(messages: list[Message], offsets: list[int], rows: pa.Buffer) -> pa.RecordBatch:
    where = pa.py_buffer(np.array(offsets, dtype=np.int32))
    return pa.RecordBatch.from_arrays(
        [
            pa.array([message.address for message in messages], pa.int32()),
            pa.array([message.kind for message in messages], pa.int32()),
            pa.Array.from_buffers(pa.binary(), len(messages), [None, where, rows]),
        ],
        names=[ADDRESS, KIND, "_rows"],
    )


def received(batches: Iterable[pa.RecordBatch]) -> dict[int, dict[int, pa.Table]]:
    """Return address to kind to rows, of all messages that came."""
    parts: dict[int, dict[int, list[pa.Table]]] = {}
    for batch in batches:
        addresses, kinds, rows = batch.columns
        for address, kind, content in zip(addresses.to_pylist(), kinds.to_pylist(), rows):
            table = pa.ipc.open_stream(content.as_buffer()).read_all()
            parts.setdefault(address, {}).setdefault(kind, []).append(table)
    return {
        address: {kind: pa.concat_tables(tables).combine_chunks() for kind, tables in kinds.items()}
        for address, kinds in sorted(parts.items())
    }
