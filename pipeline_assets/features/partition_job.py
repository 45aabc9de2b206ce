"""One engine job that computes the features of some partitions: in a single task, or in many.

Which partitions a job has is decided in `partitions`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline_assets.contract.casts import SQL_TYPES, quote_name
from pipeline_assets.engine.exchange import ADDRESS, MESSAGE_SCHEMA
from pipeline_assets.engine.layout import Layout
from pipeline_assets.features.compute import FeatureResult
from pipeline_assets.features.frame import (
    FeatureError,
    check_expressions,
    first_failing,
    history_frame,
    label_sql,
    spark_errors,
    target_frame,
)
from pipeline_assets.features.rolling.assemble import WriteFiles
from pipeline_assets.features.rolling.files import (
    ROW_ID,
    SUMMARY_SCHEMA,
    FeatureFiles,
    OutputFile,
)
from pipeline_assets.features.rolling.kernel import TIME
from pipeline_assets.features.rolling.plan import RollingPlan, rolling_plan
from pipeline_assets.features.rolling.tasks import (
    ComputeFeatures,
    SendEvents,
    SendTargets,
    bucket_name,
)
from pipeline_assets.features.rolling.together import ComputeTogether
from pipeline_assets.features.table import timed_lineage, timed_schema
from pipeline_assets.spec.partitions import partition_bounds

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

    from pipeline_assets.lake import StagedVersion, Version
    from pipeline_assets.spec.time import Time
    from pipeline_assets.spec.use_case import UseCase

ROWS_PER_FILE = 500_000
"""Rows of a file; a partition with more has several."""

ROWS_PER_TASK = 131_072
"""Rows that a task holds at a time: events of a unit of entities, or target rows to be written. A unit is
larger where a single entity, or a single file, has more rows."""

ROWS_TOGETHER = 2_000_000
"""Rows, history included, up to which one task computes everything, at about 400 bytes a row. A range with
more rows takes several jobs of this size, unless a partition and its history fill half of one."""


@dataclass(frozen=True, kw_only=True)
class PartitionJob:
    """One job over some partitions and the history that their windows reach."""

    spark: SparkSession
    use_case: UseCase
    time: Time
    versions: dict[str, Version]
    """Validated versions of the partitions and of the history."""
    keys: list[str]
    """The partitions, in order."""
    staged: dict[str, StagedVersion]
    """Where the files go, by partition."""

    def run(self) -> dict[str, FeatureResult]:
        """Compute and write; raises like `compute_partition_features`."""
        plan = rolling_plan(self.use_case, label_sql(self.use_case))
        layout, files = self._layout()
        check_expressions(self._read([]), self.use_case)
        together = self.rows <= ROWS_TOGETHER
        frame = self._together if together else self._distributed
        described = frame(plan, layout, files)
        summaries = [json.loads(row["summary"]) for row in self._collect(described)]
        schema, lineage = timed_schema(self.use_case), timed_lineage(self.use_case)
        return {key: self._result(key, summaries, schema, lineage) for key in self.keys}

    @property
    def rows(self) -> int:
        """Rows that are read, history included."""
        return sum(version.rows for version in self.versions.values())

    def _together(self, plan: RollingPlan, layout: Layout, files: FeatureFiles) -> DataFrame:
        """One task reads, computes and writes everything."""
        inputs = self._kernel_inputs(plan)
        frame = target_frame(self._read(self.keys), self.use_case, inputs)
        history = [key for key in self.versions if key not in set(self.keys)]
        if history and plan.groups:
            frame = frame.union(history_frame(self._read(history), self.use_case, inputs))
        compute = ComputeTogether(groups=plan.groups, layout=layout, files=files)
        return _in_tasks(frame.coalesce(1), compute, SUMMARY_SCHEMA)

    def _distributed(self, plan: RollingPlan, layout: Layout, files: FeatureFiles) -> DataFrame:
        """Events go to the tasks of their entities, the features to the tasks that write."""
        targets = target_frame(self._read(self.keys), self.use_case)
        messages = _in_tasks(targets, SendTargets(layout=layout), MESSAGE_SCHEMA)
        if plan.groups:
            time = _column(self.time.column).alias(TIME)
            events = self._read(list(self.versions))
            needed = events.select(time, ROW_ID, *self._kernel_inputs(plan))
            send = SendEvents(groups=plan.groups, buckets=self._buckets, layout=layout)
            sent = _in_tasks(needed, send, MESSAGE_SCHEMA)
            units = sent.repartition(self._buckets * len(plan.groups), ADDRESS)
            compute = ComputeFeatures(groups=plan.groups, layout=layout)
            messages = messages.union(_in_tasks(units, compute, MESSAGE_SCHEMA))
        write = WriteFiles(files=files, groups=tuple(tuple(group.names) for group in plan.groups))
        return _in_tasks(messages.repartition(layout.tasks, ADDRESS), write, SUMMARY_SCHEMA)

    def _kernel_inputs(self, plan: RollingPlan) -> list[Column]:
        """What the kernel needs, and which unit an entity belongs to."""
        from pyspark.sql import functions as F

        inputs = [F.expr(sql).alias(name) for name, sql in plan.columns.items()]
        for number, group in enumerate(plan.groups):
            entity = [F.expr(plan.columns[name]) for name in group.entity]
            bucket = F.pmod(F.xxhash64(*entity), F.lit(self._buckets)).cast("int")
            inputs.append(bucket.alias(bucket_name(number)))
        return inputs

    @property
    def _buckets(self) -> int:
        """Units of entities per group."""
        return max(1, -(-self.rows // ROWS_PER_TASK))

    def _layout(self) -> tuple[Layout, FeatureFiles]:
        layout = Layout.of_rows(
            [partition_bounds(self.time, key) for key in self.keys],
            [self.versions[key].rows for key in self.keys],
            rows_per_file=ROWS_PER_FILE,
            rows_per_task=ROWS_PER_TASK,
        )
        files = []
        for key, number in zip(self.keys, layout.files):
            staged = self.staged[key]
            for part in range(number):
                path = f"rows/part-{part:05d}.parquet"
                files.append(
                    OutputFile(
                        partition=key,
                        uri=staged.path(path),
                        path=path,
                        storage_options=staged.storage_options,
                    )
                )
        return layout, FeatureFiles(
            files=tuple(files),
            columns=tuple(name for name, _ in timed_schema(self.use_case)),
            numeric=tuple(self.use_case.features.numeric_names),
        )

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

    def _collect(self, described: DataFrame) -> list[Any]:
        from pipeline_assets.engine import readable_errors

        try:
            with readable_errors(f"computing the features of {self.use_case.name}"):
                return described.collect()
        except spark_errors() as error:
            events = self._read(list(self.versions))
            raise first_failing(events, self.use_case, error) from error

    def _result(
        self,
        key: str,
        summaries: list[dict[str, Any]],
        schema: list[tuple[str, str]],
        lineage: dict[str, list[str]],
    ) -> FeatureResult:
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
            schema=schema,
            split_rows={"all": rows},
            label_rates={"all": sum(s["positive"] for s in own) / rows} if rows else {},
            lineage=lineage,
            infinite=infinite,
        )


def _column(name: str) -> Column:
    from pyspark.sql import functions as F

    return F.col(quote_name(name))


def _in_tasks(frame: DataFrame, function: Any, schema: str) -> DataFrame:
    return frame.mapInArrow(function, schema)
