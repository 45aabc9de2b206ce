"""Joins the sources of a use case to its events, for a range of partitions in one pass.

Columns: those of the validated events with `_row_id`, then those of each source. Events travel once, to
the tasks that write. A small source is read by each of these; of a large one its rows and the events'
keys meet in tasks of their own. Each table has the same bytes either way, whether its partition is
joined by itself or in a range, and on either engine.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline_assets.contract.casts import SQL_TYPES, quote_name
from pipeline_assets.contract.names import ROW_ID
from pipeline_assets.contract.validation import validated_schema
from pipeline_assets.engine.errors import readable_errors
from pipeline_assets.engine.exchange import ADDRESS, MESSAGE_SCHEMA
from pipeline_assets.engine.layout import Layout
from pipeline_assets.engine.publish import ROWS_PER_BUCKET
from pipeline_assets.joining.plan import SourcePlan, source_plan
from pipeline_assets.joining.results import ABSENT, JoinError, JoinResult
from pipeline_assets.joining.tasks import UNIT, MatchUnits, SendEvents, SendKeys, SendSource
from pipeline_assets.joining.writing import SAMPLES, SUMMARY_SCHEMA, JoinedFile, WriteJoined
from pipeline_assets.lake.manifest import FileEntry
from pipeline_assets.spec.partitions import partition_bounds

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from pipeline_assets.lake import StagedVersion, Version
    from pipeline_assets.spec import Contract, UseCase

EVERYWHERE_BYTES = 4 * 2**20
"""Parquet bytes of a source up to which every task reads all of it. With 15 MiB, a million rows, joined to a
million events, it takes 5.2 s, where sending rows and keys to each other takes 3.6 s."""

ROWS_PER_TASK = 131_072
"""Rows that a task holds at a time; more where a single key, or a single file, has more."""

ROWS_PER_PASS = 20_000_000
"""Events of one job over several partitions. A longer range takes several jobs."""


def join_sources(
    spark: SparkSession,
    events: Mapping[str, Version],
    sources: Mapping[str, Version],
    use_case: UseCase,
    stage: Callable[[str], tuple[StagedVersion, StagedVersion]],
) -> dict[str, JoinResult]:
    """Join the sources of a use case to some partitions of its events.

    Args:
        spark: a session on any engine.
        events: partition key to version of the validated events; `all` without a `time` block.
        sources: name to version of its validated rows, of all `sources` that the use case declares.
        use_case: the use case.
        stage: begins the versions of a partition: of the joined rows, and of those taken out. Called once
            for each, in order. Sealing, publishing or discarding them is the caller's business.

    Returns:
        Partition key to what was written. Joined `rows/`: see above. Unmatched `rows/`: the events' columns,
        then `_unmatched`, the names of the sources that lack a row. Both in files by and sorted by `_row_id`.

    Raises:
        JoinError: events of a source with the rule `fail` match no row; rows with a repeated row id, or
            outside of their partition. Of a range nothing is usable then; joined one by one, the other
            partitions are.
    """
    missing = sorted(set(use_case.sources) - set(sources))
    if missing:
        raise JoinError(f"no validated version of the sources {', '.join(missing)}")
    staged = {key: stage(key) for key in events}
    plans = tuple(source_plan(use_case, name, sources[name]) for name in use_case.sources)
    results: dict[str, JoinResult] = {}
    for keys in _passes(events):
        results |= _Pass(spark, use_case, plans, {key: events[key] for key in keys}, staged).run()
    refused = [message for key in events for message in _refused(key, results[key], use_case)]
    if refused:
        raise JoinError("; ".join(refused))
    return {key: results[key] for key in events}


def _passes(events: Mapping[str, Version]) -> Iterator[list[str]]:
    current: list[str] = []
    rows = 0
    for key in sorted(events):
        if current and rows + events[key].rows > ROWS_PER_PASS:
            yield current
            current, rows = [], 0
        current.append(key)
        rows += events[key].rows
    if current:
        yield current


@dataclass
class _Pass:
    """One job."""

    spark: SparkSession
    use_case: UseCase
    plans: tuple[SourcePlan, ...]
    versions: dict[str, Version]
    staged: dict[str, tuple[StagedVersion, StagedVersion]]

    def run(self) -> dict[str, JoinResult]:
        contract, time = self.use_case.contract, self._time
        layout, outputs = self._layout()
        uris = [uri for version in self.versions.values() for uri in _uris(version)]
        events = _read(self.spark, uris, contract)
        large = [plan for plan in self.plans if plan.bytes > EVERYWHERE_BYTES]
        messages = _in_tasks(events, SendEvents(layout=layout, time=time), MESSAGE_SCHEMA)
        if large:
            messages = messages.union(self._matched(events, large, layout))
        write = WriteJoined(
            files=tuple(outputs),
            columns=(*contract.names, ROW_ID),
            time=time,
            plans=self.plans,
            everywhere=frozenset(plan.name for plan in self.plans if plan not in large),
        )
        described = _in_tasks(messages.repartition(layout.tasks, ADDRESS), write, SUMMARY_SCHEMA)
        with readable_errors(f"joining the sources of {self.use_case.name}"):
            summaries = [json.loads(row["summary"]) for row in described.collect()]
        return {key: self._result(key, summaries) for key in self.versions}

    @property
    def _time(self) -> str | None:
        return None if self.use_case.time is None else self.use_case.time.column

    def _matched(self, events: DataFrame, large: Sequence[SourcePlan], layout: Layout) -> DataFrame:
        """Messages with the columns of the large sources."""
        rows = sum(version.rows for version in self.versions.values())
        units = max(1, -(-(rows + max(plan.rows for plan in large)) // ROWS_PER_TASK))
        sent: DataFrame | None = None
        for plan in large:
            first = self.plans.index(plan) * units
            needed = {*plan.event_key, ROW_ID} | ({self._time} if self._time else set())
            keys = _with_unit(events, plan.event_key, units, first, sorted(needed))
            contract = self.use_case.sources[plan.name].contract
            source = _read(self.spark, [f"{plan.folder}/{path}" for path in plan.files], contract)
            own = _with_unit(source, plan.key, units, first, plan.schema.names)
            send = SendKeys(layout=layout, time=self._time, plan=plan)
            for part in (
                _in_tasks(keys, send, MESSAGE_SCHEMA),
                _in_tasks(own, SendSource(), MESSAGE_SCHEMA),
            ):
                sent = part if sent is None else sent.union(part)
        if sent is None:
            raise ValueError("no large source")
        match = MatchUnits(layout=layout, time=self._time, plans=self.plans, units=units)
        return _in_tasks(sent.repartition(units * len(large), ADDRESS), match, MESSAGE_SCHEMA)

    def _layout(self) -> tuple[Layout, list[JoinedFile]]:
        time = self.use_case.time
        layout = Layout.of_rows(
            [None if time is None else partition_bounds(time, key) for key in self.versions],
            [version.rows for version in self.versions.values()],
            rows_per_file=ROWS_PER_BUCKET,
            rows_per_task=ROWS_PER_TASK,
        )
        outputs = []
        for key, number in zip(self.versions, layout.files):
            joined, unmatched = self.staged[key]
            outputs += [
                JoinedFile(
                    partition=key,
                    path=f"rows/part-{part:05d}.parquet",
                    joined=joined.uri,
                    unmatched=unmatched.uri,
                    storage_options=joined.storage_options,
                )
                for part in range(number)
            ]
        return layout, outputs

    def _result(self, key: str, summaries: Sequence[Mapping[str, Any]]) -> JoinResult:
        own = [summary for summary in summaries if summary["partition"] == key]
        joined, unmatched = (
            sorted((FileEntry(**s[kind]) for s in own if s[kind]), key=lambda file: file.path)
            for kind in ("joined", "unmatched")
        )
        events = validated_schema(self.use_case.contract)
        samples = {
            plan.name: sorted((s for o in own for s in o["samples"][plan.name]), key=lambda s: s[0])
            for plan in self.plans
        }
        result = JoinResult(
            rows_events=self.versions[key].rows,
            rows_joined=sum(file.rows or 0 for file in joined),
            rows_unmatched=sum(file.rows or 0 for file in unmatched),
            unmatched={
                plan.name: sum(summary["counts"][plan.name] for summary in own)
                for plan in self.plans
            },
            samples={name: [row for _, row in found[:SAMPLES]] for name, found in samples.items()},
            joined_files=joined,
            unmatched_files=unmatched,
            joined_schema=[*events, *_joined_schema(self.use_case)],
            unmatched_schema=[*events, (ABSENT, "array<string>")],
        )
        if not result.conserved:
            raise JoinError(
                f"partition {key}: of {result.rows_events} validated rows {result.rows_joined} were joined "
                f"and {result.rows_unmatched} taken out: rows lie outside of the partition that holds "
                "them; validate it again"
            )
        return result


def _joined_schema(use_case: UseCase) -> list[tuple[str, str]]:
    columns = use_case.joined_contract.columns[len(use_case.contract.columns) :]
    return [(column.name, SQL_TYPES[column.type].lower()) for column in columns]


def _refused(key: str, result: JoinResult, use_case: UseCase) -> Iterator[str]:
    where = "" if use_case.time is None else f"partition {key}: "
    for name, count in result.unmatched.items():
        if count and use_case.sources[name].unmatched == "fail":
            examples = ", ".join(json.dumps(sample) for sample in result.samples[name])
            yield (
                f"{where}{count:,} of {result.rows_events:,} events have no row in {name}, whose rule is "
                f"`unmatched: fail`: {examples}; deliver these rows, or choose keep or reject"
            )


def _uris(version: Version) -> list[str]:
    return version.uris("rows", ".parquet")


def _read(spark: SparkSession, uris: list[str], contract: Contract) -> DataFrame:
    columns = [(column.name, SQL_TYPES[column.type]) for column in contract.columns]
    schema = ", ".join(
        f"{quote_name(name)} {kind}" for name, kind in [*columns, (ROW_ID, "BIGINT")]
    )
    return spark.read.schema(schema).parquet(*uris) if uris else spark.createDataFrame([], schema)


def _with_unit(
    frame: DataFrame, key: Sequence[str], units: int, first: int, columns: Sequence[str]
) -> DataFrame:
    """Columns of a frame, with the number of the unit that matches each row."""
    from pyspark.sql import functions as F

    values = [F.col(quote_name(name)) for name in key]
    unit = F.pmod(F.xxhash64(*values), F.lit(units)) + F.lit(first)
    return frame.select(
        *(F.col(quote_name(name)) for name in columns), unit.cast("int").alias(UNIT)
    )


def _in_tasks(frame: DataFrame, function: Any, schema: str) -> DataFrame:
    return frame.mapInArrow(function, schema)
