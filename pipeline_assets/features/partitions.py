"""Computes the feature tables of a range of partitions from their rows and their history.

Columns: `_row_id`, `_time`, `label`, the features of single rows, the rolling ones, then what is carried
along. Where the rows fit in one task, it does everything and no row travels. Otherwise rows travel twice:
the events, with what the rolling features need of them and nothing else, to the tasks of their entities;
the features to the tasks that write. Each table has the same bytes either way, whether its partition is
computed by itself or in a range, on one engine or the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, cast

from pipeline_assets.features import partition_job
from pipeline_assets.features.compute import FeatureResult, refuse_problems
from pipeline_assets.features.frame import FeatureError
from pipeline_assets.features.partition_job import PartitionJob
from pipeline_assets.spec.partitions import history_keys, history_partitions

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from pipeline_assets.lake import StagedVersion, Version
    from pipeline_assets.spec.time import Time
    from pipeline_assets.spec.use_case import UseCase

ROWS_PER_PASS = 20_000_000
"""Rows of one job, history included, where many tasks share the work."""


def compute_partition_features(
    spark: SparkSession,
    partitions: Sequence[str],
    validated: Mapping[str, Version],
    use_case: UseCase,
    stage: Callable[[str], StagedVersion],
) -> dict[str, FeatureResult]:
    """Compute the features of some partitions of a use case with a `time` block.

    Args:
        spark: a session on any engine.
        partitions: keys of the partitions whose features are wanted.
        validated: partition key to version, of these partitions and of the `history_partitions` before
            each of them, as far as there are any: a partition that is not here has no events. Of a use case
            with `sources` the joined rows.
        use_case: the use case.
        stage: begins the features version of a partition; called once for each, in order. Sealing,
            publishing or discarding is the caller's business.

    Returns:
        Partition key to what was written. `split_rows` and `label_rates` have the one entry `all`;
        a partition without rows has no files and no rate.

    Raises:
        FeatureError: for expressions that the use case's checks or the engine refuse, or that fail on a
            row; for rows without a label, with a repeated row id, or outside of their partition. Of a
            range nothing is usable then; computed one by one, the other partitions are.
    """
    if use_case.time is None:
        raise ValueError(f"use case {use_case.name} has no `time`: call compute_features")
    refuse_problems(use_case)
    missing = sorted(set(partitions) - set(validated))
    if missing:
        raise FeatureError(f"no validated version of the partitions {', '.join(missing)}")
    staged = {key: stage(key) for key in partitions}
    results: dict[str, FeatureResult] = {}
    for keys, history in _passes(sorted(staged), validated, use_case):
        versions = {key: validated[key] for key in [*history, *keys]}
        results |= PartitionJob(
            spark=spark,
            use_case=use_case,
            time=use_case.time,
            versions=versions,
            keys=keys,
            staged=staged,
        ).run()
    return {key: results[key] for key in partitions}


def _passes(
    keys: Sequence[str], validated: Mapping[str, Version], use_case: UseCase
) -> Iterator[tuple[list[str], list[str]]]:
    """Yield (partitions, those before them that are only read) of each job."""
    time, count = cast("Time", use_case.time), history_partitions(use_case)
    needed_by = {
        key: {k for k in [*history_keys(time, key, count), key] if k in validated} for key in keys
    }

    rows_of = {key: version.rows for key, version in validated.items()}

    def rows(read: set[str]) -> int:
        return sum(map(rows_of.__getitem__, read))

    small = 2 * max(map(rows, needed_by.values()), default=0) <= partition_job.ROWS_TOGETHER
    limit = partition_job.ROWS_TOGETHER if small else ROWS_PER_PASS
    current: list[str] = []
    read: set[str] = set()
    for key, needed in needed_by.items():
        if current and rows(read | needed) > limit:
            yield current, sorted(read - set(current))
            current, read = [], set()
        current.append(key)
        read |= needed
    if current:
        yield current, sorted(read - set(current))
