"""What one engine task does with judged rows: finds repeated keys, writes both outputs, counts.

Runs inside `mapInArrow`, on any host: NumPy, Arrow and the lake's Parquet writer only. The judged
rows come in no particular order (engines may drop a sort), so everything is sorted here. Nearly all
rows are good: what concerns rules is worked out for the rows that break one only.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import compute

from pipeline_assets.contract.names import (
    BUCKET,
    EARLIER,
    ROW_ID,
    RULES_PER_SET,
    SOURCE_FILE,
    SOURCE_LINE,
    UNIQUE_KEY,
    broken_name,
)
from pipeline_assets.contract.rejected import (
    RawColumn,
    rejected_table,
    samples,
)
from pipeline_assets.contract.unique import taken_rows, unique_rows
from pipeline_assets.lake.parquet import write_parquet
from pipeline_assets.lake.slots import task_slot

SUMMARY_SCHEMA = "summary string"


@dataclass(frozen=True, kw_only=True)
class RuleColumns:
    """A rule as the task sees it."""

    name: str
    rejects: bool
    """Severity is error."""
    shown: tuple[str, ...]
    """Contract columns whose raw values a sample shows."""


@dataclass(frozen=True, kw_only=True)
class BucketWriter:
    """The function of `mapInArrow`: judged rows in, one JSON summary per bucket out."""

    key: tuple[str, ...]
    """Key columns of the contract."""
    schema: pa.Schema
    """Schema of the validated rows."""
    columns: tuple[RawColumn, ...]
    """The contract's columns."""
    rules: tuple[RuleColumns, ...]
    """The contract's rules, in the order of the bit sets."""
    validated_uri: str
    rejected_uri: str
    validated_options: dict[str, Any]
    rejected_options: dict[str, Any]
    earlier: tuple[str, ...] = ()
    """The earlier partitions that rows with a taken key are of."""

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Write each bucket's rows."""
        received, taken = self._received(batches)
        if not received:
            return
        rows = pa.Table.from_batches(received)
        del received
        summaries = []
        with task_slot():
            buckets = rows.column(BUCKET).to_numpy()
            present = np.unique(buckets).tolist()
            for bucket in present:
                part = rows if len(present) == 1 else rows.filter(pa.array(buckets == bucket))
                part = part.combine_chunks()
                summaries.append(json.dumps(self._write(bucket, part, taken), allow_nan=False))
        yield pa.RecordBatch.from_pydict({"summary": summaries})

    def _received(
        self, batches: Iterator[pa.RecordBatch]
    ) -> tuple[list[pa.RecordBatch], pa.Table | None]:
        """The rows to be written, and those that have taken a key; None where there are none."""
        own, taken = [], []
        for batch in batches:
            if EARLIER in batch.schema.names:
                before = batch.column(EARLIER).is_valid()
                columns = [ROW_ID, *self.key, SOURCE_FILE, SOURCE_LINE, EARLIER]
                taken.append(batch.select(columns).filter(before))
                batch = batch.filter(compute.call_function("invert", [before]))
            if batch.num_rows:
                own.append(batch)
        rows = pa.Table.from_batches(taken) if taken else None
        return own, rows if rows is not None and rows.num_rows else None

    def _write(self, bucket: int, rows: pa.Table, taken: pa.Table | None) -> dict[str, Any]:
        flagged, broken = self._broken(rows)
        rejecting = np.array([rule.rejects for rule in self.rules])
        sound = np.ones(rows.num_rows, dtype=bool)
        sound[flagged[broken[:, rejecting].any(axis=1)]] = False
        late, origins = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
        if taken is not None:
            late, origins = taken_rows(rows, np.flatnonzero(sound), taken, self.key)
            sound[late] = False
        kept, repeated, first = unique_rows(rows, np.flatnonzero(sound), self.key)
        flagged, broken = self._with_repeated(flagged, broken, np.concatenate([repeated, late]))
        first |= dict(zip(late.tolist(), (origins + rows.num_rows).tolist(), strict=True))
        validated = rows.select(self.schema.names).take(pa.array(kept)).cast(self.schema)
        bad = rows.take(pa.array(flagged))
        out = np.flatnonzero(broken[:, rejecting].any(axis=1))
        names = [rule.name for rule in self.rules]
        rejected = rejected_table(bad.take(pa.array(out)), broken[out], names, self.columns)
        name = f"rows/part-{bucket:05d}.parquet"
        return {
            "rows": rows.num_rows,
            "validated": self._file(name, validated, self.validated_uri, self.validated_options),
            "rejected": self._file(name, rejected, self.rejected_uri, self.rejected_options),
            "violations": dict(zip(names, broken.sum(axis=0).tolist(), strict=True)),
            "nulls": {
                column.name: validated.column(column.name).null_count for column in self.columns
            },
            "samples": {
                rule.name: self._samples(rule, rows, flagged[broken[:, at]], first, taken)
                for at, rule in enumerate(self.rules)
            },
        }

    def _broken(self, rows: pa.Table) -> tuple[np.ndarray, np.ndarray]:
        """Positions of the rows that break any rule [n], and which ones, bool [n, rules]."""
        sets = [
            rows.column(broken_name(index)).to_numpy()
            for index in range(-(-len(self.rules) // RULES_PER_SET))
        ]
        flagged = np.flatnonzero(np.logical_or.reduce([bits != 0 for bits in sets]))
        broken = np.zeros((len(flagged), len(self.rules)), dtype=bool, order="F")
        for at in range(len(self.rules)):
            index, bit = divmod(at, RULES_PER_SET)
            broken[:, at] = (sets[index][flagged] >> bit) & 1
        return flagged, broken

    def _with_repeated(
        self, flagged: np.ndarray, broken: np.ndarray, repeated: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The same with the rule `unique_key` broken at the positions `repeated`."""
        unique = [rule.name for rule in self.rules].index(UNIQUE_KEY)
        together = np.union1d(flagged, repeated)
        merged = np.zeros((len(together), len(self.rules)), dtype=bool, order="F")
        merged[np.searchsorted(together, flagged)] = broken
        merged[np.searchsorted(together, repeated), unique] = True
        return together, merged

    def _samples(
        self,
        rule: RuleColumns,
        rows: pa.Table,
        positions: np.ndarray,
        first: dict[int, int],
        taken: pa.Table | None,
    ) -> list[dict[str, Any]]:
        leaders = None
        if rule.name == UNIQUE_KEY:
            kept = pa.array([first[at] for at in positions.tolist()], pa.int64())
            origin = [SOURCE_FILE, SOURCE_LINE]
            if taken is None:
                leaders = rows.select(origin).take(kept)
            else:
                both = [table.select([*origin, EARLIER]) for table in (rows, taken)]
                leaders = pa.concat_tables(both).take(kept)
                names = pa.array(self.earlier, pa.string()).take(leaders.column(EARLIER))
                leaders = leaders.set_column(2, EARLIER, names)
        shown = [column for column in self.columns if column.name in rule.shown]
        return samples(rule.name, rows.take(pa.array(positions)), shown, leaders)

    @staticmethod
    def _file(
        name: str, table: pa.Table, uri: str, options: dict[str, Any]
    ) -> dict[str, Any] | None:
        if not table.num_rows:
            return None
        target = f"{uri.rstrip('/')}/{name}"
        return asdict(write_parquet(table, target, storage_options=options, path=name))
