"""Ingest: from a source to the files of a staged version of `raw`.

In order: list the files, look into each (`plan`), find out where large ones may be split, read all
of them in tasks, make sure that the source did not change meanwhile. Publishing is the caller's.
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pipeline_assets.engine.publish import write_tasks
from pipeline_assets.ingest import tasks
from pipeline_assets.ingest.batch import SOURCE_FILE, SOURCE_LINE
from pipeline_assets.ingest.columns import ddl_type, names_in_file
from pipeline_assets.ingest.dialect import Dialect
from pipeline_assets.ingest.errors import IngestError
from pipeline_assets.ingest.plan import FilePlan, Plan, make_plan
from pipeline_assets.ingest.sources import SourceFile, discover, refuse_changes
from pipeline_assets.lake import FileEntry, StagedVersion
from pipeline_assets.spec import Contract, Source
from pipeline_assets.spec.credentials import without_credentials

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_COLUMNAR = ("parquet", "orc")


@dataclass(frozen=True, kw_only=True)
class IngestResult:
    """What was read and written."""

    files: list[FileEntry]
    """Files in `rows/` and `malformed/` of the staged version."""
    rows: int
    """Rows in `rows/`."""
    malformed_rows: int
    """Records in `malformed/`."""
    malformed_by_reason: dict[str, int]
    """Kind of mistake to the number of records."""
    source_files: list[SourceFile]
    """The files read, with their hashes."""
    columns: list[tuple[str, str]]
    """Name and type (Spark DDL) of the columns in `rows/`."""
    ignored_columns: list[str]
    """Columns of the files that the contract does not know."""
    warnings: list[str]
    """For whoever watches the run."""


def ingest(
    spark: "SparkSession",
    source: Source,
    contract: Contract,
    staged: StagedVersion,
    *,
    files: list[SourceFile] | None = None,
    empty: bool = False,
    timezone: str = "UTC",
) -> IngestResult:
    """Read a source into `rows/` and `malformed/` of a staged version.

    `rows/` has the contract's columns in its order, then `_source_file` (string) and `_source_line`
    (int64, first line of the record; row number in columnar files). From text formats all columns
    are strings as written; from columnar ones they have the contract's type where the files' type
    fits into it without loss, else they are strings. `malformed/` has `_source_file`,
    `_source_line`, `reason` and `text`. The rows are in source order from part to part, and equal
    sources give equal bytes.

    Args:
        spark: the session.
        source: where and how.
        contract: names and types of the columns.
        staged: where to.
        files: what an earlier `discover` found; anything else there now is an error.
        empty: take a source whose files are all empty for one without rows, in place of an error.
        timezone: IANA zone of the timestamps in columnar files that have no offset.

    Raises:
        IngestError: nothing there, a damaged file, missing columns, or a source that changed.
        LakeError: where the lake refuses to be written.
    """
    found = files if files is not None else discover(source, hashes=False)
    plan = make_plan(found, source, contract, empty=empty)
    common = {
        "format": source.format,
        "dialect": Dialect.of(source.csv).to_json(),
        "null_values": source.csv.null_values,
        "names": contract.names,
        "source_names": names_in_file(source, contract),
        "contract_types": [column.type for column in contract.columns],
        "types": [ddl_type(kind) for kind in plan.types],
        "timezone": timezone,
        "target": staged.uri,
        "storage_options": staged.storage_options,
    }
    inspected = _inspect(spark, plan, source, common)
    segments = [
        segment
        for file in plan.files
        for segment in _segments(file, source, inspected.get(file.file.uri))
    ]
    packed = [
        {**common, "part": part, "segments": group}
        for part, group in enumerate(_pack(segments, source.split_bytes))
    ]
    results = _run(spark, packed, tasks.read)
    hashes = {uri: result["sha256"] for uri, result in inspected.items()}
    for task, result in zip(packed, results):
        for segment, (size, digest) in zip(task["segments"], result["digests"]):
            if segment["whole"]:
                hashes[segment["uri"]] = digest
            elif segment["digest"] != digest:
                raise _changed(segment["uri"])
            if size and size != segment["bytes"]:
                raise _changed(segment["uri"])
    read_files = [replace(file, sha256=hashes.get(file.uri, "")) for file in found]
    refuse_changes(read_files, discover(source, hashes=False))
    refuse_changes(files or [], read_files if files else [])
    reasons = sum((Counter(result["reasons"]) for result in results), Counter())
    unknown = sorted({name for result in results for name in result["unknown"]})
    if unknown and source.extra_columns == "fail":
        raise IngestError(
            f"source {source.uri}: keys that the contract does not know: {', '.join(unknown)}; "
            "add them to the contract or set source.extra_columns: ignore"
        )
    schema = [
        *zip(contract.names, common["types"]),
        (SOURCE_FILE, "string"),
        (SOURCE_LINE, "bigint"),
    ]
    return IngestResult(
        files=sorted(
            (FileEntry(**entry) for result in results for entry in result["files"]),
            key=lambda entry: entry.path,
        ),
        rows=sum(result["rows"] for result in results),
        malformed_rows=sum(reasons.values()),
        malformed_by_reason=dict(sorted(reasons.items())),
        source_files=read_files,
        columns=schema,
        ignored_columns=list(dict.fromkeys([*plan.ignored, *unknown])),
        warnings=[without_credentials(warning) for warning in plan.warnings],
    )


def _inspect(
    spark: "SparkSession", plan: Plan, source: Source, common: dict[str, Any]
) -> dict[str, dict[str, Any]]:
    """Hashes and places to split of the files whose segments are read apart, by URI."""
    chosen = [
        file
        for file in plan.files
        if source.format in _COLUMNAR or (file.splittable and file.file.bytes > source.split_bytes)
    ]
    described = [
        {
            "format": source.format,
            "dialect": common["dialect"],
            "uri": file.file.uri,
            "bytes": file.file.bytes,
            "bom": file.bom,
            "split_bytes": source.split_bytes,
        }
        for file in chosen
    ]
    results = dict(zip((file.file.uri for file in chosen), _run(spark, described, tasks.inspect)))
    for file in chosen:
        if results[file.file.uri]["bytes"] != file.file.bytes:
            raise _changed(file.file.uri)
    return results


def _segments(
    plan: FilePlan, source: Source, inspected: dict[str, Any] | None
) -> Iterator[dict[str, Any]]:
    """What to read of one file, piece by piece."""
    file = plan.file
    common = {"uri": file.uri, "name": file.name, "whole": False, "digest": ""}
    if source.format in _COLUMNAR:
        assert inspected is not None
        yield from _group_segments(plan, source, inspected["groups"] or plan.groups, common)
        return
    text = {**common, "codec": plan.codec, "width": plan.width, "positions": plan.positions}
    header = source.format == "csv" and source.csv.header
    if inspected is None:
        whole = {"start": 0, "end": None, "skip": plan.bom, "first_line": 1, "header": header}
        yield {**text, **whole, "whole": True, "bytes": file.bytes}
        return
    for index, (start, end, line, digest) in enumerate(inspected["segments"]):
        place = {"start": start, "end": end, "skip": 0, "first_line": line}
        yield {
            **text,
            **place,
            "header": header and index == 0,
            "digest": digest,
            "bytes": end - start,
        }


def _group_segments(
    plan: FilePlan, source: Source, groups: list[int], common: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """Consecutive row groups that make up about `split_bytes` each."""
    total = max(1, sum(groups))
    rows_each = max(1, total * source.split_bytes // max(1, plan.file.bytes))
    start, row, rows = 0, 1, 0
    for index, count in enumerate(groups):
        rows += count
        if rows >= rows_each or index == len(groups) - 1:
            share = plan.file.bytes * rows // total
            yield {**common, "groups": [start, index + 1], "first_row": row, "bytes": share}
            start, row, rows = index + 1, row + rows, 0


def _pack(segments: list[dict[str, Any]], split_bytes: int) -> Iterator[list[dict[str, Any]]]:
    """Small segments share a task: a function of the source alone, never of cores."""
    group, size = [], 0
    for segment in segments:
        if group and size + segment["bytes"] > split_bytes:
            yield group
            group, size = [], 0
        group.append(segment)
        size += segment["bytes"]
    if group:
        yield group


def _run(
    spark: "SparkSession", described: list[dict[str, Any]], function: Any
) -> list[dict[str, Any]]:
    results = [
        json.loads(row.result) for row in write_tasks(spark, described, function, tasks.RESULT)
    ]
    errors = list(dict.fromkeys(result["error"] for result in results if "error" in result))
    if errors:
        raise IngestError("\n".join(errors[:5]))
    return results


def _changed(uri: str) -> IngestError:
    return IngestError(
        f"the source changed while it was being read: {uri} has other content. "
        "Nothing was published; run again when the source is at rest"
    )
