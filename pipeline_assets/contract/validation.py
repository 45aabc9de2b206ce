"""The validating pass: one plan judges rows, brings equal keys together and writes both outputs.

Raw rows are judged by the compiled contract where they are read, in the engine's own expressions.
Each then goes to the task of its key with its typed values, its broken rules as bits, and of its raw
values only those that the typed ones do not tell; `writer` takes over there. Only its summaries, one
per bucket, come back: files, counts, null counts and a few samples. No second scan, no collected rows.

Which rows compete for a key: those that break no other rule of severity error. A broken row
therefore never pushes out a good one, and a good row stays valid after a broken one with the same
key. Rows of earlier partitions may have taken a key already, see `earlier`.
"""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline_assets.contract.casts import SQL_TYPES
from pipeline_assets.contract.earlier import EarlierRaw, taken_keys
from pipeline_assets.contract.expressions import CompiledContract, rule_expressions
from pipeline_assets.contract.judging import (
    check_row_rules,
    gather,
    judge,
    raw_rows,
    raw_types_of,
)
from pipeline_assets.contract.names import (
    ROW_ID,
    SOURCE_FILE,
    SOURCE_LINE,
    UNIQUE_KEY,
    raw_name,
)
from pipeline_assets.contract.rejected import REJECTED_SCHEMA, SAMPLES, RawColumn
from pipeline_assets.contract.results import ValidationResult
from pipeline_assets.contract.rules import Rule, rules_of
from pipeline_assets.contract.table_checks import check_table
from pipeline_assets.contract.writer import SUMMARY_SCHEMA, BucketWriter, RuleColumns
from pipeline_assets.engine.arrow_types import ARROW_TYPES
from pipeline_assets.engine.errors import readable_errors
from pipeline_assets.engine.publish import bucket_count
from pipeline_assets.engine.reading import read_version
from pipeline_assets.lake.manifest import FileEntry
from pipeline_assets.lake.staging import StagedVersion
from pipeline_assets.lake.version import Version
from pipeline_assets.spec.contract import ColumnType, Contract
from pipeline_assets.spec.expressions import columns_of

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def validate(
    spark: "SparkSession",
    raw: Version,
    contract: Contract,
    *,
    validated: StagedVersion,
    rejected: StagedVersion,
    source_files: Sequence[Any] = (),
    earlier: Sequence[EarlierRaw] = (),
    timezone: str = "UTC",
) -> ValidationResult:
    """Judge every raw row, and write it to exactly one of two staged versions.

    validated `rows/`: the contract's columns in its types and order, then `_row_id` int64, the
    xxhash64 of the key's values as text; bucketed by and sorted by `_row_id`, then key.
    rejected `rows/`: `_source_file`, `_source_line`, `rules` (all that the row broke, warnings
    included), `original` (JSON of the raw values, or the malformed line verbatim); in source order.

    Args:
        spark: a session on any engine.
        raw: version with `rows/` and `malformed/` as `ingest` writes them.
        contract: the rules.
        validated: where good rows go; not sealed here.
        rejected: where the others go; not sealed here.
        source_files: for the freshness check, see `check_table`.
        earlier: partitions whose sound rows have taken their keys, in the order of time: a row with
            such a key breaks `unique_key`. None of their rows is written or counted.
        timezone: IANA zone of timestamps without an offset.

    Raises:
        ContractError: where raw lacks a column or has it in a foreign type, or the engine refuses a
            row rule's expression.
    """
    frame = read_version(spark, raw, folder="rows")
    raw_types = raw_types_of(frame.dtypes, contract)
    compiled = rule_expressions(contract, raw_types, timezone=timezone)
    check_row_rules(spark, contract)
    rows_raw = sum(_rows(raw, folder) for folder in ("rows", "malformed"))
    judged = judge(raw_rows(spark, raw, frame, contract, raw_types), compiled)
    taken = taken_keys(spark, earlier, timezone) if rows_raw else None
    gathered = gather(judged, compiled, contract, bucket_count(rows_raw), taken)
    partitions = tuple(part.partition for part in earlier)
    writer = _writer(contract, compiled, raw_types, validated, rejected, partitions)
    written = gathered.mapInArrow(cast(Any, writer), SUMMARY_SCHEMA)
    with readable_errors(f"validating {raw.uri}"):
        summaries = [json.loads(row["summary"]) for row in written.collect()]
    result = _merge(summaries, contract, rows_raw)
    result = replace(
        result,
        rows_validated=_stored_rows(validated, result.validated_files),
        rows_rejected=_stored_rows(rejected, result.rejected_files),
    )
    return replace(result, table_checks=check_table(result, contract, source_files))


def validated_schema(contract: Contract) -> list[tuple[str, str]]:
    """Column and Spark type of validated rows."""
    columns = [(column.name, SQL_TYPES[column.type].lower()) for column in contract.columns]
    return [*columns, (ROW_ID, "bigint")]


def rejected_schema() -> list[tuple[str, str]]:
    """Column and Spark type of rejected rows."""
    types = ("string", "bigint", "array<string>", "string")
    return list(zip(REJECTED_SCHEMA.names, types, strict=True))


def _writer(
    contract: Contract,
    compiled: CompiledContract,
    raw_types: dict[str, ColumnType],
    validated: StagedVersion,
    rejected: StagedVersion,
    partitions: tuple[str, ...],
) -> BucketWriter:
    schema = pa.schema([(column.name, ARROW_TYPES[column.type]) for column in contract.columns])
    return BucketWriter(
        key=tuple(contract.key),
        schema=schema.append(pa.field(ROW_ID, pa.int64())),
        columns=tuple(
            RawColumn(
                name=name,
                kept=raw_name(i) if name in compiled.kept else None,
                text=raw_types[name] == "string",
            )
            for i, name in enumerate(contract.names)
        ),
        rules=tuple(
            RuleColumns(
                name=rule.name,
                rejects=rule.severity == "error",
                shown=_shown(rule, contract),
            )
            for rule in rules_of(contract)
        ),
        validated_uri=validated.uri,
        rejected_uri=rejected.uri,
        validated_options=dict(validated.storage_options),
        rejected_options=dict(rejected.storage_options),
        earlier=partitions,
    )


def _shown(rule: Rule, contract: Contract) -> tuple[str, ...]:
    if rule.column is not None:
        return (rule.column,)
    if rule.name == UNIQUE_KEY:
        return tuple(contract.key)
    if rule.expression is not None:
        named = columns_of(rule.expression)
        return tuple(name for name in contract.names if name in named)
    return ()


def _merge(summaries: list[dict[str, Any]], contract: Contract, rows_raw: int) -> ValidationResult:
    rules = rules_of(contract)
    files: dict[str, list[FileEntry]] = {
        output: sorted(
            (FileEntry(**summary[output]) for summary in summaries if summary[output]),
            key=lambda file: file.path,
        )
        for output in ("validated", "rejected")
    }
    rows_validated = sum(file.rows or 0 for file in files["validated"])
    nulls = {name: sum(s["nulls"][name] for s in summaries) for name in contract.names}
    return ValidationResult(
        rows_raw=rows_raw,
        rows_validated=rows_validated,
        rows_rejected=sum(file.rows or 0 for file in files["rejected"]),
        violations={r.name: sum(s["violations"][r.name] for s in summaries) for r in rules},
        severities={rule.name: rule.severity for rule in rules},
        samples={
            rule.name: sorted(
                (sample for summary in summaries for sample in summary["samples"][rule.name]),
                key=lambda sample: (sample[SOURCE_FILE], sample[SOURCE_LINE]),
            )[:SAMPLES]
            for rule in rules
        },
        null_shares={
            name: n / rows_validated if rows_validated else 0.0 for name, n in nulls.items()
        },
        table_checks=[],
        validated_files=files["validated"],
        rejected_files=files["rejected"],
        validated_schema=validated_schema(contract),
        rejected_schema=rejected_schema(),
    )


def _rows(raw: Version, folder: str) -> int:
    """Rows of one folder by the manifest; by the Parquet footers where it does not say."""
    files = raw.files(folder, ".parquet")
    if any(file.rows is None for file in files):
        return _footer_rows(raw, files)
    return sum(file.rows or 0 for file in files)


def _stored_rows(staged: StagedVersion, files: list[FileEntry]) -> int:
    """Rows that are really in the files: their footers are read again, not the writer's counts."""
    return _footer_rows(staged, files)


def _footer_rows(version: Version | StagedVersion, files: Sequence[FileEntry]) -> int:
    def rows(file: FileEntry) -> int:
        with version.storage.open(file.path) as opened:
            return pq.read_metadata(opened).num_rows

    with ThreadPoolExecutor(max_workers=16) as pool:
        return sum(pool.map(rows, files))
