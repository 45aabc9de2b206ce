"""What runs in the engine's tasks: inspecting large files, reading segments, writing parts.

Tasks and results are JSON. A source that turns out to be unreadable is reported in the result, not
raised, so that its message reaches the reader without the engine's stack trace around it.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash

from pipeline_assets.ingest.batch import MALFORMED_SCHEMA, SOURCE_FILE, SOURCE_LINE, Batch
from pipeline_assets.ingest.columnar import group_rows, open_columnar, read_groups
from pipeline_assets.ingest.columns import raw_arrow_type
from pipeline_assets.ingest.delimited import DelimitedParser
from pipeline_assets.ingest.dialect import Dialect
from pipeline_assets.ingest.errors import IngestError
from pipeline_assets.ingest.json_lines import LINES, JsonLinesParser
from pipeline_assets.ingest.sources import sha256_of
from pipeline_assets.ingest.text_records import read_batches, record_starts
from pipeline_assets.ingest.text_stream import decoded_blocks, open_source, raw_blocks
from pipeline_assets.lake import FileEntry
from pipeline_assets.lake.parquet import ParquetPart

RESULT = "result string"
"""Schema of the results: one JSON text."""

Task = dict[str, Any]


def inspect(tasks: Iterator[Task]) -> Iterator[Task]:
    """Read each file once, for its hash and the places where it may be split."""
    for task in tasks:
        yield _report(_inspect, task)


def read(tasks: Iterator[Task]) -> Iterator[Task]:
    """Read the segments of each task and write its part of `rows/` and of `malformed/`."""
    for task in tasks:
        yield _report(_read, task)


def _report(function: Callable[[Task], Task], task: Task) -> Task:
    try:
        return {"result": json.dumps(function(task))}
    except IngestError as error:
        return {"result": json.dumps({"error": str(error)})}


def _inspect(task: Task) -> Task:
    """Returns `sha256`, `bytes`, and `segments` (text: start, end, first line, XXH64; ORC: rows)."""
    if task["format"] in ("parquet", "orc"):
        with open_columnar(task["uri"], task["format"]) as file:
            groups = group_rows(file) if task["format"] == "orc" else []
        return {"sha256": sha256_of(task["uri"]), "bytes": task["bytes"], "groups": groups}
    dialect = Dialect.from_json(task["dialect"]) if task["format"] == "csv" else LINES
    position, line, start, start_line = task["bom"], 1, task["bom"], 1
    digest, segments, header_seen = xxhash.xxh64(), [], False
    with open_source(task["uri"]) as reader:
        # Not decoded: in a splittable encoding line ends, quotes and delimiters are single bytes.
        blocks = decoded_blocks(raw_blocks(reader, task["uri"]), codec="utf-8", skip=task["bom"])
        for buffer, records in record_starts(blocks, dialect):
            done, first = 0, 0
            if not header_seen:
                content = np.flatnonzero(records.end > records.start)
                header_seen = bool(len(content))
                first = int(content[0]) + 1 if header_seen else len(records.start)
            while True:
                # The first record start at or beyond the wanted size; never before the header's end.
                wanted = start + task["split_bytes"] - position
                index = max(int(np.searchsorted(records.start, wanted)), first)
                if index >= len(records.start):
                    break
                cut = int(records.start[index])
                digest.update(buffer[done:cut])
                segments.append([start, position + cut, start_line, digest.hexdigest()])
                digest, done = xxhash.xxh64(), cut
                start, start_line = position + cut, line + int(records.line[index])
            digest.update(buffer[done : records.consumed])
            position += records.consumed
            line += records.lines
        segments.append([start, position, start_line, digest.hexdigest()])
        return {"sha256": reader.digest(), "bytes": reader.size, "segments": segments}


def _read(task: Task) -> Task:
    """Returns `files`, `rows`, `reasons` (counts), `digests` per segment, `unknown` JSON keys."""
    names, types = task["names"], [raw_arrow_type(name) for name in task["types"]]
    schema = pa.schema([*zip(names, types), (SOURCE_FILE, pa.string()), (SOURCE_LINE, pa.int64())])
    reasons: Counter[str] = Counter()
    digests: list[tuple[int, str]] = []
    unknown: set[str] = set()
    with _Part(task, "rows", schema) as rows, _Part(task, "malformed", MALFORMED_SCHEMA) as bad:
        for segment in task["segments"]:
            name = pa.scalar(segment["name"], pa.string())
            for batch in _batches(task, segment, types, digests, unknown):
                count = len(batch.lines)
                if count:
                    columns = [*batch.columns, pa.repeat(name, count), batch.lines]
                    rows.write(pa.Table.from_arrays(columns, schema=schema))
                if batch.malformed:
                    reasons.update(m.reason.partition(":")[0] for m in batch.malformed)
                    bad.write(
                        pa.Table.from_arrays(
                            [
                                pa.repeat(name, len(batch.malformed)),
                                pa.array([m.line for m in batch.malformed], pa.int64()),
                                pa.array([m.reason for m in batch.malformed], pa.string()),
                                pa.array([m.text for m in batch.malformed], pa.string()),
                            ],
                            schema=MALFORMED_SCHEMA,
                        )
                    )
    files = [vars(part.entry) for part in (rows, bad) if part.entry is not None]
    return {
        "files": files,
        "rows": rows.rows,
        "reasons": reasons,
        "digests": digests,
        "unknown": sorted(unknown),
    }


def _batches(
    task: Task,
    segment: Task,
    types: list[pa.DataType],
    digests: list[tuple[int, str]],
    unknown: set[str],
) -> Iterator[Batch]:
    uri = segment["uri"]
    if task["format"] in ("parquet", "orc"):
        with open_columnar(uri, task["format"]) as file:
            yield from read_groups(
                file,
                groups=range(*segment["groups"]),
                first_row=segment["first_row"],
                names=task["source_names"],
                types=types,
                contract_types=task["contract_types"],
                timezone=task["timezone"],
            )
        digests.append((0, ""))
        return
    if task["format"] == "csv":
        dialect = Dialect.from_json(task["dialect"])
        parser = DelimitedParser(
            dialect, codec=segment["codec"], width=segment["width"], columns=segment["positions"]
        )
    else:
        dialect = LINES
        parser = JsonLinesParser(
            codec=segment["codec"], names=task["source_names"], null_values=task["null_values"]
        )
    with open_source(uri, start=segment["start"], end=segment["end"]) as reader:
        blocks = decoded_blocks(
            raw_blocks(reader, uri), codec=segment["codec"], skip=segment["skip"]
        )
        yield from read_batches(
            blocks,
            parser.parse,
            first_line=segment["first_line"],
            header=dialect if segment["header"] else None,
        )
        digests.append((reader.size, reader.digest()))
    if isinstance(parser, JsonLinesParser):
        unknown |= parser.unknown


class _Part:
    """A file of the staged version that exists only if something is written to it."""

    def __init__(self, task: Task, folder: str, schema: pa.Schema) -> None:
        self._path = f"{folder}/part-{task['part']:05d}.parquet"
        self._uri = f"{task['target'].rstrip('/')}/{self._path}"
        self._options, self._schema = task["storage_options"], schema
        self._stack, self._part = ExitStack(), None
        self.rows = 0

    def __enter__(self) -> "_Part":
        return self

    def __exit__(self, *error: Any) -> bool | None:
        return self._stack.__exit__(*error)

    def write(self, table: pa.Table) -> None:
        if self._part is None:
            part = ParquetPart(
                self._uri, self._schema, storage_options=self._options, path=self._path
            )
            self._part = self._stack.enter_context(part)
        self._part.write(table)
        self.rows += table.num_rows

    @property
    def entry(self) -> FileEntry | None:
        return None if self._part is None else self._part.entry
