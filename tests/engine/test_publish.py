"""Writing from many tasks: the same rows give the same bytes, whatever engine and distribution."""

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest

from pipeline_assets.engine import (
    EngineError,
    bucket_count,
    engine_name,
    read_version,
    readable_errors,
    write_buckets,
    write_tasks,
)
from pipeline_assets.engine.bucketing import one_task_per_bucket
from pipeline_assets.lake import Dataset, FileEntry, Lake, LakeError, Version

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_COLUMNS = [
    "id",
    "CASE WHEN id % 13 = 0 THEN NULL ELSE cast(id % 100 AS string) END AS tied",
    "array(cast(id AS string), 'ä', NULL) AS list",
    "timestamp_micros(1700000000000000 + id * 1000001) AS time",
    "date_add(date'2020-01-01', cast(id % 1000 AS int)) AS day",
    "cast(id AS float) / 7 AS share",
    "CASE WHEN id % 5 = 0 THEN cast('NaN' AS double) ELSE cast(id AS double) END AS value",
    "id % 2 = 0 AS even",
    "cast(id % 3 AS int) AS small",
]


def _frame(spark: "SparkSession", rows: int = 20_000, partitions: int = 3) -> "DataFrame":
    return spark.range(0, rows, 1, partitions).selectExpr(*_COLUMNS)


def _write(df: "DataFrame", dataset: Dataset, order_by: list[str]) -> list[FileEntry]:
    staged = dataset.stage()
    return write_buckets(
        df, staged=staged, bucket_expression="xxhash64(id)", buckets=4, order_by=order_by
    )


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return Lake(str(tmp_path / "a lake")).dataset("churn", "features")


def _publish(df: "DataFrame", dataset: Dataset) -> Version:
    with dataset.stage() as staged:
        files = write_buckets(
            df, staged=staged, bucket_expression="xxhash64(id)", buckets=4, order_by=["id"]
        )
        staged.seal(files=files, rows=sum(file.rows or 0 for file in files), schema=df.dtypes)
        return staged.publish()


@pytest.mark.parametrize("order_by", [["id"], ["tied"], []])
def test_bytes_do_not_depend_on_the_distribution(spark, dataset: Dataset, order_by) -> None:
    frame = _frame(spark)
    expected = _write(frame, dataset, order_by)
    assert sum(file.rows or 0 for file in expected) == 20_000
    assert [file.path for file in expected] == [f"rows/part-{i:05d}.parquet" for i in range(4)]
    for other in (
        frame.repartition(7, "small"),
        frame.orderBy("share", ascending=False),
        _frame(spark, partitions=1),
    ):
        assert _write(other, dataset, order_by) == expected


def test_files_are_sorted_with_missing_values_last(spark, dataset: Dataset) -> None:
    version = _publish(_frame(spark, 1000), dataset)
    for uri in version.uris("rows"):
        table = pq.read_table(uri.removeprefix("file://"))
        assert table["id"].to_pylist() == sorted(table["id"].to_pylist())
        assert "__bucket" not in table.column_names
    tied = dataset.stage()
    files = write_buckets(
        _frame(spark, 1000), staged=tied, bucket_expression="small", buckets=3, order_by=["tied"]
    )
    values = pq.read_table(tied.path(files[0].path).removeprefix("file://"))["tied"].to_pylist()
    present = [value for value in values if value is not None]
    assert values == sorted(present) + [None] * (len(values) - len(present))


def test_a_version_reads_back(spark, dataset: Dataset) -> None:
    frame = _frame(spark, 1000)
    version = _publish(frame, dataset)
    assert version.rows == 1000
    read = read_version(spark, dataset.require())
    assert read.dtypes == frame.dtypes
    assert read.count() == 1000
    assert read.exceptAll(frame).count() == 0


def test_no_rows_give_no_files_and_an_empty_frame(spark, dataset: Dataset) -> None:
    version = _publish(_frame(spark, 0), dataset)
    assert version.manifest.files == [] and version.rows == 0
    read = read_version(spark, version)
    assert read.count() == 0
    assert read.dtypes == _frame(spark, 0).dtypes
    other = read_version(spark, version, "malformed", schema="reason string")
    assert other.dtypes == [("reason", "string")] and other.count() == 0


@pytest.mark.parametrize(
    "session", ["spark", pytest.param("apache_spark", marks=pytest.mark.spark)]
)
def test_each_bucket_has_a_task_of_its_own(request, session: str) -> None:
    def buckets(batches):
        import pyarrow as pa

        found = {number for batch in batches for number in batch.column("bucket").to_pylist()}
        yield pa.RecordBatch.from_pydict({"buckets": [sorted(found)]})

    frame = _frame(request.getfixturevalue(session), 5000)
    for count in (1, 2, 3, 16):
        rows = frame.selectExpr("id", f"cast(id % {count} as int) AS bucket")
        tasks = one_task_per_bucket(rows, "bucket", count).mapInArrow(
            buckets, "buckets array<bigint>"
        )
        assert sorted(row[0] for row in tasks.collect()) == [[bucket] for bucket in range(count)]


def test_unknown_order_columns_are_refused(spark, dataset: Dataset) -> None:
    with pytest.raises(ValueError, match=r"unknown columns \['nope'\]"):
        _write(_frame(spark, 1), dataset, ["nope"])


def test_a_failing_storage_is_the_lakes_error(spark, tmp_path: Path) -> None:
    staged = Lake(str(tmp_path)).dataset("churn", "raw").stage()
    (staged.storage.local_root / "rows").write_text("a file where a folder is needed")
    with pytest.raises(LakeError, match=r"cannot write .*rows/part-"):
        write_buckets(
            _frame(spark, 10), staged=staged, bucket_expression="id", buckets=2, order_by=["id"]
        )


@pytest.mark.parametrize(
    "rows, buckets", [(0, 2), (1, 2), (1_000_000, 2), (1_000_001, 3), (10**9, 2000)]
)
def test_bucket_count_depends_on_rows_alone(rows: int, buckets: int) -> None:
    assert bucket_count(rows) == buckets


def _repeat(tasks: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for task in tasks:
        for i in range(task["times"]):
            yield {"text": f"{task['text']}{i}", "blob": bytes([i]), "number": None}


_RESULT = "text string, blob binary, number long"


@pytest.mark.parametrize("count", [1, 5, 700])
def test_tasks_come_back_in_order(spark, count: int) -> None:
    def repeat(tasks):
        for task in tasks:
            for i in range(task["times"]):
                yield {"text": f"{task['text']}{i}", "blob": bytes([i]), "number": None}

    tasks = [{"text": f"t{i}-", "times": i % 3} for i in range(count)]
    rows = write_tasks(spark, tasks, repeat, _RESULT)
    assert [row.asDict() for row in rows] == list(_repeat(iter(tasks)))


def test_no_tasks_give_no_results(spark) -> None:
    assert write_tasks(spark, [], _repeat, _RESULT) == []


def test_errors_of_this_project_pass_through_tasks(spark) -> None:
    def fail(tasks):
        from pipeline_assets.lake import LakeError

        raise LakeError(f"cannot do {next(tasks)['name']}: no space")

    with pytest.raises(LakeError, match=r"^cannot do x: no space$"):
        write_tasks(spark, [{"name": "x"}], fail, "a int")


def test_other_errors_stay_what_they_are(spark) -> None:
    from pyspark.errors import PythonException

    def fail(tasks):
        raise ZeroDivisionError("by zero")

    with pytest.raises(PythonException, match="by zero"):
        write_tasks(spark, [{}], fail, "a int")


def test_text_that_only_looks_like_an_error_is_left_alone() -> None:
    from pyspark.errors import PySparkException

    with pytest.raises(PySparkException), readable_errors("testing"):
        raise PySparkException("pipeline_assets.nope.Error: x\npipeline_assets.lake.Lake: y")
    with pytest.raises(EngineError, match="stopped while testing"), readable_errors("testing"):
        raise PySparkException("UNAVAILABLE: failed to connect to all addresses")


def test_tasks_run_at_most_as_many_as_there_are_cores(spark) -> None:
    """Sail starts all forty at once; the heavy part waits for a core."""

    def work(tasks):
        import threading
        import time

        running = threading.main_thread().__dict__.setdefault("running", [])
        running.append(1)
        seen = len(running)
        time.sleep(0.01)
        running.pop()
        yield {"seen": seen}

    rows = write_tasks(spark, [{}] * 40, work, "seen int")
    assert max(row.seen for row in rows) <= 2


@pytest.mark.spark
def test_both_engines_write_the_same_bytes(spark, apache_spark, tmp_path: Path) -> None:
    assert (engine_name(spark), engine_name(apache_spark)) == ("sail", "spark")
    hashes = []
    for session in (spark, apache_spark):
        dataset = Lake(f"{tmp_path}/{uuid.uuid4().hex}").dataset("churn", "features")
        hashes.append(
            [_write(_frame(session, 5000), dataset, order) for order in (["id"], ["tied"])]
        )
        version = _publish(_frame(session, 100), dataset)
        assert read_version(session, version).count() == 100
    assert hashes[0] == hashes[1]


@pytest.mark.spark
def test_tasks_and_their_errors_on_apache_spark(apache_spark) -> None:
    def double(tasks):
        for task in tasks:
            yield {"n": 2 * task["n"]}

    def fail(tasks):
        from pipeline_assets.lake import LakeError

        raise LakeError("no space")

    rows = write_tasks(apache_spark, [{"n": n} for n in range(5)], double, "n long")
    assert [row.n for row in rows] == [0, 2, 4, 6, 8]
    with pytest.raises(LakeError, match=r"^no space$"):
        write_tasks(apache_spark, [{}], fail, "n long")
