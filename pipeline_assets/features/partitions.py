"""Computes the feature tables of a range of partitions in one pass over their rows and their history.

Columns: `_row_id`, `_time`, `label`, the features of single rows, the rolling ones, then what is carried
along. Rows travel twice: the events, with what the rolling features need of them and nothing else, to
the tasks of their entities; the features to the tasks that write. Each table has the same bytes whether
its partition is computed by itself or in a range, on one engine or the other.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from pipeline_assets.contract.casts import SQL_TYPES, quote_name
from pipeline_assets.engine.exchange import ADDRESS, MESSAGE_SCHEMA
from pipeline_assets.engine.layout import Layout
from pipeline_assets.features.compute import FeatureResult, refuse_problems
from pipeline_assets.features.frame import (
    FeatureError,
    check_rolling,
    first_failing,
    label_sql,
    spark_errors,
    target_frame,
)
from pipeline_assets.features.rolling.assemble import SUMMARY_SCHEMA, OutputFile, WriteFiles
from pipeline_assets.features.rolling.kernel import TIME
from pipeline_assets.features.rolling.plan import RollingPlan, rolling_plan
from pipeline_assets.features.rolling.tasks import (
    ROW_ID,
    ComputeFeatures,
    SendEvents,
    SendTargets,
    bucket_name,
)
from pipeline_assets.features.table import timed_lineage, timed_schema
from pipeline_assets.spec.partitions import history_keys, history_partitions, partition_bounds

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from pipeline_assets.lake import StagedVersion, Version
    from pipeline_assets.spec.time import Time
    from pipeline_assets.spec.use_case import UseCase

ROWS_PER_FILE = 500_000
"""Rows of a file; a partition with more has several."""

ROWS_PER_TASK = 131_072
"""Rows that a task holds at a time: events of a unit of entities, or target rows to be written. A unit is
larger where a single entity, or a single file, has more rows."""

ROWS_PER_PASS = 20_000_000
"""Rows of one job over several partitions, history included. A longer range takes several jobs."""


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
        results |= _Pass(spark, use_case, use_case.time, versions, keys, staged).run()
    return {key: results[key] for key in partitions}


def _passes(
    keys: Sequence[str], validated: Mapping[str, Version], use_case: UseCase
) -> Iterator[tuple[list[str], list[str]]]:
    """Yield (partitions, those before them that are only read) of each job."""
    time, count = cast("Time", use_case.time), history_partitions(use_case)
    current: list[str] = []
    read: set[str] = set()
    for key in keys:
        needed = {k for k in [*history_keys(time, key, count), key] if k in validated}
        if current and sum(validated[k].rows for k in read | needed) > ROWS_PER_PASS:
            yield current, sorted(read - set(current))
            current, read = [], set()
        current.append(key)
        read |= needed
    if current:
        yield current, sorted(read - set(current))


@dataclass
class _Pass:
    """One job."""

    spark: SparkSession
    use_case: UseCase
    time: Time
    versions: dict[str, Version]
    keys: list[str]
    staged: dict[str, StagedVersion]

    def run(self) -> dict[str, FeatureResult]:
        plan = rolling_plan(self.use_case, label_sql(self.use_case))
        layout, outputs = self._layout()
        targets = self._read(self.keys)
        frame = target_frame(targets, self.use_case)
        events = self._read(list(self.versions))
        check_rolling(events, self.use_case)
        messages = _in_tasks(frame, SendTargets(layout=layout), MESSAGE_SCHEMA)
        if plan.groups:
            messages = messages.union(self._computed(events, plan, layout))
        write = WriteFiles(
            files=tuple(outputs),
            columns=tuple(name for name, _ in timed_schema(self.use_case)),
            numeric=tuple(self.use_case.features.numeric_names),
            groups=tuple(tuple(group.names) for group in plan.groups),
        )
        described = _in_tasks(messages.repartition(layout.tasks, ADDRESS), write, SUMMARY_SCHEMA)
        summaries = [json.loads(row["summary"]) for row in self._collect(described, events)]
        return {key: self._result(key, summaries) for key in self.keys}

    def _computed(self, events: DataFrame, plan: RollingPlan, layout: Layout) -> DataFrame:
        """Messages with the rolling features of the target rows."""
        from pyspark.sql import functions as F

        rows = sum(version.rows for version in self.versions.values())
        buckets = max(1, -(-rows // ROWS_PER_TASK))
        needed = events.select(
            F.col(quote_name(self.time.column)).alias(TIME),
            ROW_ID,
            *(F.expr(sql).alias(name) for name, sql in plan.columns.items()),
            *(
                F.pmod(
                    F.xxhash64(*(F.expr(plan.columns[name]) for name in group.entity)),
                    F.lit(buckets),
                )
                .cast("int")
                .alias(bucket_name(number))
                for number, group in enumerate(plan.groups)
            ),
        )
        send = SendEvents(groups=plan.groups, buckets=buckets, layout=layout)
        compute = ComputeFeatures(groups=plan.groups, layout=layout)
        sent = _in_tasks(needed, send, MESSAGE_SCHEMA)
        units = buckets * len(plan.groups)
        return _in_tasks(sent.repartition(units, ADDRESS), compute, MESSAGE_SCHEMA)

    def _layout(self) -> tuple[Layout, list[OutputFile]]:
        layout = Layout.of_rows(
            [partition_bounds(self.time, key) for key in self.keys],
            [self.versions[key].rows for key in self.keys],
            rows_per_file=ROWS_PER_FILE,
            rows_per_task=ROWS_PER_TASK,
        )
        outputs = []
        for key, number in zip(self.keys, layout.files):
            staged = self.staged[key]
            for part in range(number):
                path = f"rows/part-{part:05d}.parquet"
                outputs.append(
                    OutputFile(
                        partition=key,
                        uri=staged.path(path),
                        path=path,
                        storage_options=staged.storage_options,
                    )
                )
        return layout, outputs

    def _read(self, keys: Sequence[str]) -> DataFrame:
        columns = [
            (column.name, SQL_TYPES[column.type])
            for column in self.use_case.joined_contract.columns
        ]
        schema = ", ".join(
            f"{quote_name(name)} {kind}" for name, kind in [*columns, (ROW_ID, "BIGINT")]
        )
        uris = [uri for key in keys for uri in self.versions[key].uris("rows", ".parquet")]
        if not uris:
            return self.spark.createDataFrame([], schema)
        return self.spark.read.schema(schema).parquet(*uris)

    def _collect(self, described: DataFrame, events: DataFrame) -> list[Any]:
        from pipeline_assets.engine import readable_errors

        try:
            with readable_errors(f"computing the features of {self.use_case.name}"):
                return described.collect()
        except spark_errors() as error:
            raise first_failing(events, self.use_case, error) from error

    def _result(self, key: str, summaries: list[dict[str, Any]]) -> FeatureResult:
        from pipeline_assets.lake import FileEntry

        own = [summary for summary in summaries if summary["partition"] == key]
        files = sorted((FileEntry(**s["file"]) for s in own), key=lambda entry: entry.path)
        rows, expected = sum(entry.rows or 0 for entry in files), self.versions[key].rows
        if rows != expected:
            raise FeatureError(
                f"partition {key}: {expected} validated rows gave {rows} feature rows: rows lie outside "
                "of the partition that holds them; validate it again"
            )
        unlabelled = sum(summary["unlabelled"] for summary in own)
        if unlabelled:
            raise FeatureError(
                f"partition {key}: the label {self.use_case.features.label.column!r} is missing in "
                f"{unlabelled} of {rows} rows"
            )
        infinite: dict[str, int] = {}
        for summary in own:
            for name, count in summary["infinite"].items():
                infinite[name] = infinite.get(name, 0) + count
        return FeatureResult(
            files=files,
            rows=rows,
            schema=timed_schema(self.use_case),
            split_rows={"all": rows},
            label_rates={"all": sum(s["positive"] for s in own) / rows} if rows else {},
            lineage=timed_lineage(self.use_case),
            infinite=infinite,
        )


def _in_tasks(frame: DataFrame, function: Any, schema: str) -> DataFrame:
    return frame.mapInArrow(function, schema)
