"""Writing rows from many tasks into a staged version, and running tasks described as JSON.

What is written is the caller's business. Descriptions of files come back to the driver, never rows.
"""

import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pipeline_assets.engine.bucketing import one_task_per_bucket
from pipeline_assets.engine.errors import readable_errors
from pipeline_assets.lake import FileEntry, StagedVersion

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, Row, SparkSession

ROWS_PER_BUCKET = 500_000
"""Rows that one task sorts in memory and writes as one file."""

MAX_PARTITIONS = 512
"""Partitions of `write_tasks`; with more tasks a partition runs several, one after the other."""

_BUCKET = "__bucket"
_TASK = "__task"
_FILE_SCHEMA = "path string, bytes long, sha256 string, rows long"


def bucket_count(rows: int, *, least: int = 2) -> int:
    """Return the number of files for so many rows: a function of the rows alone, never of cores.

    >>> bucket_count(0), bucket_count(1_000_001), bucket_count(20_000_000)
    (2, 3, 40)
    """
    return max(least, -(-rows // ROWS_PER_BUCKET))


def write_buckets(
    df: "DataFrame",
    *,
    staged: StagedVersion,
    folder: str = "rows",
    bucket_expression: str,
    buckets: int,
    order_by: Sequence[str],
) -> list[FileEntry]:
    """Write rows as `folder/part-00000.parquet`, one sorted file per bucket that has rows.

    The same rows give the same bytes on every engine, however they were distributed before. The
    rows of a bucket are held in memory by the task that sorts them.

    Args:
        df: The rows; its columns are written in their order.
        staged: Where to.
        folder: Subfolder of the version.
        bucket_expression: SQL for an integer; its non-negative remainder by `buckets` is the bucket.
        buckets: Number of buckets, see `bucket_count`.
        order_by: Columns that order the rows of a file, ascending, missing values last. Rows that
            tie are ordered by their other columns.

    Raises:
        LakeError: where the storage refuses.
        ValueError: where `order_by` names an unknown column.
    """
    from pyspark.sql import functions as F

    unknown = [name for name in order_by if name not in df.columns]
    if unknown:
        raise ValueError(f"order_by names unknown columns {unknown}; there are {df.columns}")
    bucketed = df.withColumn(_BUCKET, F.expr(f"cast(pmod({bucket_expression}, {buckets}) as int)"))
    write = _bucket_writer(staged.path(folder), staged.storage_options, folder, list(order_by))
    described = one_task_per_bucket(bucketed, _BUCKET, buckets).mapInArrow(write, _FILE_SCHEMA)
    with readable_errors(f"writing {staged.path(folder)}"):
        rows = described.collect()
    entries = [FileEntry(**row.asDict()) for row in rows]
    return sorted(entries, key=lambda entry: entry.path)


def _bucket_writer(
    uri: str, storage_options: dict[str, Any], folder: str, order_by: list[str]
) -> Callable[[Iterable[Any]], Iterator[Any]]:
    """Return what a task runs: sort its rows, write its buckets, describe the files."""

    def write(batches: Iterable[Any]) -> Iterator[Any]:
        import pyarrow as pa

        from pipeline_assets.engine.sorting import sorted_groups
        from pipeline_assets.lake.parquet import write_parquet
        from pipeline_assets.lake.slots import task_slot

        held = [batch for batch in batches if batch.num_rows]
        if not held:
            return
        table = pa.Table.from_batches(held)
        del held
        entries = []
        with task_slot():
            for bucket, rows in sorted_groups(table, _BUCKET, order_by):
                name = f"part-{bucket:05d}.parquet"
                target, path = f"{uri}/{name}", f"{folder}/{name}"
                entries.append(
                    write_parquet(rows, target, storage_options=storage_options, path=path)
                )
        columns = {
            "path": pa.array([entry.path for entry in entries], pa.string()),
            "bytes": pa.array([entry.bytes for entry in entries], pa.int64()),
            "sha256": pa.array([entry.sha256 for entry in entries], pa.string()),
            "rows": pa.array([entry.rows for entry in entries], pa.int64()),
        }
        yield pa.RecordBatch.from_pydict(columns)

    return write


def write_tasks(
    spark: "SparkSession",
    tasks: Sequence[dict[str, Any]],
    function: Callable[[Iterator[dict[str, Any]]], Iterator[dict[str, Any]]],
    result_schema: str,
) -> list["Row"]:
    """Run a function over small task descriptions, in parallel, and collect its small results.

    Args:
        spark: The session.
        tasks: JSON-safe descriptions, e.g. a file and a byte range each.
        function: Takes an iterator of one task, yields result dicts. It runs in other threads,
            processes or hosts, and may run twice for a task: it must be picklable by cloudpickle,
            import what it needs, write where its task says, and be repeatable.
        result_schema: DDL of the results, e.g. `"path string, rows long"`.

    Returns:
        The results in the order of the tasks.

    Raises:
        LakeError: where the storage refuses; likewise any other error class of this project.
    """
    from pyspark.sql import Row
    from pyspark.sql.pandas.types import to_arrow_schema

    if not tasks:
        return []
    partitions = min(len(tasks), MAX_PARTITIONS)
    packed = zlib.compress(json.dumps(list(tasks)).encode())
    declared = spark.createDataFrame([], result_schema).schema
    schema = to_arrow_schema(declared)

    def run(batches: Iterable[Any]) -> Iterator[Any]:
        import pyarrow as pa

        from pipeline_assets.lake.slots import task_slot

        numbers = [number for batch in batches for number in batch.column(0).to_pylist()]
        described = json.loads(zlib.decompress(packed)) if numbers else []
        for number in numbers:
            with task_slot():
                results = list(function(iter([described[number]])))
            rows = pa.Table.from_pylist(results, schema=schema).combine_chunks()
            task = pa.array([number] * rows.num_rows, pa.int64())
            yield from rows.add_column(0, _TASK, task).to_batches()

    # `range` puts one row into each partition on every engine; `repartition` does not.
    numbers = spark.range(0, len(tasks), 1, partitions)
    outcome = numbers.mapInArrow(run, f"{_TASK} long, {result_schema}")
    with readable_errors("running tasks"):
        rows = sorted(outcome.collect(), key=lambda row: row[_TASK])
    named = Row(*declared.names)
    return [named(*row[1:]) for row in rows]
