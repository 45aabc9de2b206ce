"""What a writing task does: puts the events of a file in order, joins the sources, writes, counts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline_assets.contract.names import ROW_ID
from pipeline_assets.engine.exchange import received
from pipeline_assets.joining.matching import Positions, SourceIndex
from pipeline_assets.joining.plan import SourcePlan
from pipeline_assets.joining.results import ABSENT, JoinError
from pipeline_assets.joining.tasks import EVENTS, FILE, times_of
from pipeline_assets.lake.parquet import write_parquet
from pipeline_assets.lake.slots import task_slot

SAMPLES = 5
SUMMARY_SCHEMA = "summary string"


@dataclass(frozen=True, kw_only=True)
class JoinedFile:
    """Where the rows of a file go, with their sources' columns or taken out."""

    partition: str
    """Key of its partition."""
    path: str
    """Path within either version."""
    joined: str
    """URI of the version of joined rows."""
    unmatched: str
    """URI of the version of the rows taken out."""
    storage_options: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class WriteJoined:
    """The function of the last `mapInArrow`: events and matches in, one JSON summary per file out."""

    files: tuple[JoinedFile, ...]
    """By file number."""
    columns: tuple[str, ...]
    """Columns of the events in order."""
    time: str | None
    plans: tuple[SourcePlan, ...]
    everywhere: frozenset[str]
    """Names of the sources that are small enough to be read by every task."""

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Write the files."""
        units = received(batches)
        small = [plan for plan in self.plans if plan.name in self.everywhere]
        sources = {plan.name: _Small(plan) for plan in small}
        while units:
            _, kinds = units.popitem()
            with task_slot():
                summaries = list(self._write_all(kinds, sources))
            yield pa.RecordBatch.from_pydict({"summary": summaries})

    def _write_all(self, kinds: dict[int, pa.Table], sources: dict[str, _Small]) -> Iterator[str]:
        events = _by_file(kinds[EVENTS])
        found = {kind: _by_file(table) for kind, table in kinds.items() if kind != EVENTS}
        for number, rows in events.items():
            file, ids = self.files[number], rows[ROW_ID].to_numpy()
            if (ids[1:] == ids[:-1]).any():
                raise JoinError(
                    f"partition {file.partition}: two rows have the same row id; validate it again"
                )
            columns, matched = {}, {}
            for position, plan in enumerate(self.plans):
                if plan.name in sources:
                    at = sources[plan.name].positions(rows, self.time)
                    taken = plan.columns(sources[plan.name].rows, at)
                else:
                    matches = found.get(position + 1, {}).get(number)
                    at = _positions_of(ids, matches)
                    taken = _taken(plan, matches, at)
                columns |= taken
                matched[plan.name] = at >= 0
            yield json.dumps(self._write(file, rows.select(self.columns), columns, matched))

    def _write(
        self,
        file: JoinedFile,
        rows: pa.Table,
        columns: dict[str, Any],
        matched: dict[str, NDArray[np.bool_]],
    ) -> dict[str, Any]:
        out = np.zeros(rows.num_rows, dtype=bool)
        rejecting = [plan.name for plan in self.plans if plan.unmatched == "reject"]
        for name in rejecting:
            out |= ~matched[name]
        joined = pa.table({name: rows[name] for name in rows.column_names} | columns)
        lacking = np.stack([~matched[name][out] for name in rejecting] or [out[out]], axis=1)
        offsets = np.concatenate([[0], np.cumsum(lacking.sum(axis=1))]).astype(np.int32)
        names = pa.array(rejecting or [""]).take(pa.array(np.nonzero(lacking)[1]))
        absent = pa.ListArray.from_arrays(pa.array(offsets), names)
        taken_out = rows.filter(pa.array(out)).append_column(ABSENT, absent)
        return {
            "partition": file.partition,
            "joined": _write_rows(file, file.joined, joined.filter(pa.array(~out))),
            "unmatched": _write_rows(file, file.unmatched, taken_out),
            "counts": {name: int((~mask).sum()) for name, mask in matched.items()},
            "samples": {
                plan.name: self._samples(plan, rows, matched[plan.name]) for plan in self.plans
            },
        }

    def _samples(
        self, plan: SourcePlan, rows: pa.Table, matched: NDArray[np.bool_]
    ) -> list[tuple[int, dict[str, Any]]]:
        """Row id and key, with the time where there is one, of the first unmatched rows."""
        names = dict.fromkeys([*plan.event_key, *([self.time] if self.time else [])])
        first = rows.take(pa.array(np.flatnonzero(~matched)[:SAMPLES]))
        shown = first.select(list(names)).to_pylist()
        return [
            (row_id, {name: _as_json(value) for name, value in row.items()})
            for row_id, row in zip(first[ROW_ID].to_pylist(), shown)
        ]


class _Small:
    """A source that the task reads as a whole, once it needs it."""

    def __init__(self, plan: SourcePlan) -> None:
        self._plan = plan

    @cached_property
    def rows(self) -> pa.Table:
        return self._plan.read()

    @cached_property
    def _index(self) -> SourceIndex:
        return self._plan.index(self.rows)

    def positions(self, events: pa.Table, time: str | None) -> Positions:
        key = [events[name] for name in self._plan.event_key]
        return self._index.positions(key, times_of(events, time))


def _as_json(value: Any) -> Any:
    """A key or a time as JSON holds it: numbers and booleans as they are, dates as ISO text."""
    return value if value is None or isinstance(value, str | int) else value.isoformat()


def _by_file(table: pa.Table) -> dict[int, pa.Table]:
    """Return file number to its rows, sorted by row id."""
    files, ids = table[FILE].to_numpy(), table[ROW_ID].to_numpy()
    order = np.lexsort((ids, files))
    ordered = files[order]
    starts = np.flatnonzero(np.diff(ordered, prepend=-1))
    return {
        int(ordered[start]): table.take(pa.array(order[start:end]))
        for start, end in zip(starts, [*starts[1:], len(order)])
    }


def _positions_of(ids: NDArray[np.int64], matches: pa.Table | None) -> Positions:
    """Position of each event's row among the matches that came for its file, -1 for none."""
    if matches is None:
        return np.full(len(ids), -1, dtype=np.int64)
    found = matches[ROW_ID].to_numpy()
    at = np.minimum(np.searchsorted(found, ids), len(found) - 1)
    return np.where(found[at] == ids, at, -1)


def _taken(plan: SourcePlan, matches: pa.Table | None, positions: Positions) -> dict[str, Any]:
    if matches is None:
        empty = plan.schema.empty_table()
        return dict(plan.columns(empty, positions))
    taken = pa.array(positions, mask=positions < 0)
    return {name: matches[name].take(taken) for name in plan.joined.values()}


def _write_rows(file: JoinedFile, uri: str, rows: pa.Table) -> dict[str, Any] | None:
    if not rows.num_rows:
        return None
    target = f"{uri}/{file.path}"
    entry = write_parquet(rows, target, storage_options=file.storage_options, path=file.path)
    return asdict(entry)
