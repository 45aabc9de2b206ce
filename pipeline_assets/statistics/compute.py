"""One distributed pass over a feature version: a task per file, or per run of files where there are
many, so that what comes back does not grow with the data; partials merged in file order.

Tasks read their file by Arrow and compute in NumPy, the same code over the same files in the same
order on every engine; so are the results. Partials come back, never rows beyond the bounded sample
(see `summary.sample_size`), whose expected size over all tasks together is fixed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

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
    """Return the statistics of the training rows of one feature version.

    Raises:
        ValueError: for a version without training rows.
    """
    from pipeline_assets.engine import write_tasks

    tasks = statistics_tasks(
        features.uris("rows", ".parquet"), features.storage_options, features.rows, use_case
    )
    if not tasks:
        raise ValueError(f"{features.uri} has no rows to compute statistics of")
    found = write_tasks(spark, tasks, run_tasks, "position INT, partial BINARY")
    ordered = sorted(found, key=lambda row: row["position"])
    if [row["position"] for row in ordered] != list(range(len(tasks))):
        raise ValueError(f"{len(tasks)} tasks gave {len(ordered)} partial results")
    return merge_partials([bytes(row["partial"]) for row in ordered], use_case)


def statistics_tasks(
    uris: list[str], storage_options: dict[str, Any] | None, rows: int, use_case: UseCase
) -> list[dict[str, Any]]:
    """Return JSON-safe tasks for the files of a feature version of `rows` rows in all splits.

    A task has one file, or consecutive ones of more than `MAX_TASKS`: a function of their number alone.
    """
    features = use_case.features
    bound = sample_bound(rows * use_case.split.train, sample_size(len(features.numeric)))
    tasks = min(len(uris), MAX_TASKS)
    return [
        {
            "position": position,
            "uris": uris[len(uris) * position // tasks : len(uris) * (position + 1) // tasks],
            "storage_options": storage_options or {},
            "numeric": [feature.name for feature in features.numeric],
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
    first, *others = task["uris"]
    partial = _partial_of_file(first, task)
    for uri in others:
        partial.merge(_partial_of_file(uri, task))
    return partial


def _partial_of_file(uri: str, task: dict[str, Any]) -> Partial:
    """Return the partial of one file, read in batches."""
    import fsspec
    import pyarrow.parquet as pq

    partial = Partial(
        task["numeric"], task["categorical"], limit=task["limit"], bound=task["bound"]
    )
    with fsspec.open(uri, "rb", **task["storage_options"]) as file:
        batches = pq.ParquetFile(file).iter_batches(_BATCH_ROWS, columns=partial.columns)
        partial.add_file(batches)
    return partial


def merge_partials(partials: list[bytes], use_case: UseCase) -> FeatureStatistics:
    """Merge the partials of all tasks, in their order, and summarise them.

    Raises:
        ValueError: where there is no training row.
    """
    merged = Partial.from_bytes(partials[0])
    for data in partials[1:]:
        merged.merge(Partial.from_bytes(data))
    if not int(np.sum(merged.rows[0])):
        raise ValueError("the feature version has no training rows")
    return summarise(merged, vocabulary=use_case.model.max_vocabulary)
