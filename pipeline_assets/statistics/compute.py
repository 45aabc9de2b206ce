"""One distributed pass over feature versions: a task per file, or per run of files where there are
many, so that what comes back does not grow with the data; partials merged in file order.

Tasks read their file by Arrow and compute in NumPy, the same code over the same files in the same
order on every engine; so are the results. Partials come back, never rows beyond the bounded sample
(see `summary.sample_size`), whose expected size over all tasks together is fixed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline_assets.features.split import SPLITS
from pipeline_assets.statistics.model import FeatureStatistics
from pipeline_assets.statistics.partial import Partial
from pipeline_assets.statistics.summary import sample_size, summarise

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from pipeline_assets.lake import Version
    from pipeline_assets.spec.use_case import UseCase

MAX_TASKS = 256
"""Tasks at most. Each returns one partial, up to some megabytes where features are many."""

_BATCH_ROWS = 65_536
_CATEGORIES = 8192
_MAX_HASH = 2**64 - 1


def compute_statistics(
    spark: SparkSession, features: Version, use_case: UseCase
) -> FeatureStatistics:
    """Return the statistics of the training rows of one feature version, whose rows name their split.

    Raises:
        ValueError: for a version without training rows.
    """
    training_rows = features.rows * use_case.split.train
    uris = features.uris("rows", ".parquet")
    tasks = statistics_tasks(uris, features.storage_options, training_rows, use_case)
    return summarise(_run(spark, tasks), vocabulary=use_case.model.max_vocabulary)


def compute_training_set_statistics(
    spark: SparkSession, parts: Mapping[str, Sequence[Version]], use_case: UseCase
) -> FeatureStatistics:
    """Return the statistics of the training rows of several feature versions, e.g. of partitions.

    All rows of a version belong to the split that it is given for. The numbers are those of one
    version with the same rows, but for the rounding of sums that are taken in another order. Equal row
    ids are looked for across all versions, in an aggregation of their own.

    Args:
        spark: the session.
        parts: train, validation and test, to feature versions of one lake.
        use_case: whose features they are.

    Raises:
        ValueError: where there is no training row, or a split has another name.
    """
    unknown = [split for split in parts if split not in SPLITS]
    if unknown:
        raise ValueError(f"no splits are named {', '.join(unknown)}: they are {', '.join(SPLITS)}")
    versions = [(split, version) for split in SPLITS for version in parts.get(split, ())]
    files = [
        (uri, split) for split, version in versions for uri in version.uris("rows", ".parquet")
    ]
    options = versions[0][1].storage_options if versions else {}
    tasks = statistics_tasks(
        [uri for uri, _ in files],
        options,
        sum(version.rows for version in parts.get("train", ())),
        use_case,
        splits=[split for _, split in files],
    )
    merged = _run(spark, tasks)
    merged.repeated, merged.overlaps = repeated_rows(spark, files)
    return summarise(merged, vocabulary=use_case.model.max_vocabulary)


def repeated_rows(spark: SparkSession, files: Sequence[tuple[str, str]]) -> tuple[int, int]:
    """Return (rows whose `_row_id` an earlier row has, ids in more than one split) of Parquet files.

    Args:
        spark: the session.
        files: (URI, split) of each file.
    """
    from functools import reduce

    from pyspark.sql import functions as F

    frames = [
        spark.read.parquet(*uris).select("_row_id", F.lit(at).alias("part"))
        for at, split in enumerate(SPLITS)
        if (uris := [uri for uri, of in files if of == split])
    ]
    counted = (
        reduce(lambda one, other: one.unionByName(other), frames)
        .groupBy("_row_id")
        .agg(F.count("*").alias("rows"), F.min("part").alias("low"), F.max("part").alias("high"))
        .where("rows > 1")
        .agg(
            F.coalesce(F.sum(F.expr("rows - 1")), F.lit(0)).alias("repeated"),
            F.coalesce(F.sum(F.expr("CASE WHEN low < high THEN 1 ELSE 0 END")), F.lit(0)).alias(
                "overlaps"
            ),
        )
        .collect()[0]
    )
    return int(counted["repeated"]), int(counted["overlaps"])


def _run(spark: SparkSession, tasks: list[dict[str, Any]]) -> Partial:
    from pipeline_assets.engine import write_tasks

    if not tasks:
        raise ValueError("the features have no rows to compute statistics of")
    found = write_tasks(spark, tasks, run_tasks, "position INT, partial BINARY")
    ordered = sorted(found, key=lambda row: row["position"])
    if [row["position"] for row in ordered] != list(range(len(tasks))):
        raise ValueError(f"{len(tasks)} tasks gave {len(ordered)} partial results")
    return merge_partials([bytes(row["partial"]) for row in ordered])


def statistics_tasks(
    uris: list[str],
    storage_options: dict[str, Any] | None,
    training_rows: float,
    use_case: UseCase,
    *,
    splits: Sequence[str] | None = None,
) -> list[dict[str, Any]]:
    """Return JSON-safe tasks for feature files.

    A task has one file, or consecutive ones of more than `MAX_TASKS`: a function of their number alone.

    Args:
        uris: the files.
        storage_options: of fsspec.
        training_rows: about how many training rows they hold.
        use_case: whose features they are.
        splits: of each file; the rows' `_split` tells by default.
    """
    features = use_case.features
    bound = sample_bound(training_rows, sample_size(len(features.numeric_names)))
    tasks = min(len(uris), MAX_TASKS)
    of_files = list(splits) if splits is not None else [None] * len(uris)
    files = [list(pair) for pair in zip(uris, of_files, strict=True)]
    return [
        {
            "position": position,
            "files": files[len(uris) * position // tasks : len(uris) * (position + 1) // tasks],
            "storage_options": storage_options or {},
            "numeric": features.numeric_names,
            "categorical": [feature.name for feature in features.categorical],
            "limit": max(_CATEGORIES, 8 * use_case.model.max_vocabulary),
            "bound": bound,
        }
        for position in range(tasks)
    ]


def sample_bound(training_rows: float, size: int) -> int:
    """Return the hash below which about `size` of the rows lie, and almost surely no fewer."""
    wanted = size + 6 * math.sqrt(size)
    return _MAX_HASH if training_rows <= wanted else int(_MAX_HASH * (wanted / training_rows))


def run_tasks(tasks: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Compute the partial of each task's files; runs inside a Spark task."""
    for task in tasks:
        yield {"position": task["position"], "partial": partial_of(task).to_bytes()}


def partial_of(task: dict[str, Any]) -> Partial:
    """Return the partial of one task's files, merged in their order."""
    partials = (_partial_of_file(uri, split, task) for uri, split in task["files"])
    partial = next(partials)
    for other in partials:
        partial.merge(other)
    return partial


def _partial_of_file(uri: str, split: str | None, task: dict[str, Any]) -> Partial:
    """Return the partial of one file, read in batches."""
    import fsspec
    import pyarrow.parquet as pq

    partial = Partial(
        task["numeric"], task["categorical"], limit=task["limit"], bound=task["bound"]
    )
    with fsspec.open(uri, "rb", **task["storage_options"]) as file:
        batches = pq.ParquetFile(file).iter_batches(_BATCH_ROWS, columns=partial.columns(split))
        partial.add_file(batches, split)
    return partial


def merge_partials(partials: list[bytes]) -> Partial:
    """Merge the partials of all tasks, in their order.

    Raises:
        ValueError: where there is no training row.
    """
    merged = Partial.from_bytes(partials[0])
    for data in partials[1:]:
        merged.merge(Partial.from_bytes(data))
    if not int(np.sum(merged.rows[0])):
        raise ValueError("the features have no training rows")
    return merged
