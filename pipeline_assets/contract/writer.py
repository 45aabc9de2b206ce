"""What one engine task does with judged rows: finds repeated keys, writes both outputs, counts.

Runs inside `mapInArrow`, on any host: NumPy, Arrow and the lake's Parquet writer only. The judged
rows come in no particular order (engines may drop a sort), so everything is sorted here. Nearly all
rows are good: what concerns rules is worked out for the rows that break one only.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import compute

from pipeline_assets.contract.names import (
    BUCKET,
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
    sorted_positions,
)
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

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Write each bucket's rows."""
        received = [batch for batch in batches if batch.num_rows]
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
                summaries.append(json.dumps(self._write(bucket, part), allow_nan=False))
        yield pa.RecordBatch.from_pydict({"summary": summaries})

    def _write(self, bucket: int, rows: pa.Table) -> dict[str, Any]:
        flagged, broken = self._broken(rows)
        rejecting = np.array([rule.rejects for rule in self.rules])
        sound = np.ones(rows.num_rows, dtype=bool)
        sound[flagged[broken[:, rejecting].any(axis=1)]] = False
        kept, repeated, first = unique_rows(rows, np.flatnonzero(sound), self.key)
        flagged, broken = self._with_repeated(flagged, broken, repeated)
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
                rule.name: self._samples(rule, rows, flagged[broken[:, at]], first)
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
        self, rule: RuleColumns, rows: pa.Table, positions: np.ndarray, first: dict[int, int]
    ) -> list[dict[str, Any]]:
        leaders = None
        if rule.name == UNIQUE_KEY:
            kept = pa.array([first[at] for at in positions.tolist()], pa.int64())
            leaders = rows.select([SOURCE_FILE, SOURCE_LINE]).take(kept)
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


def unique_rows(
    rows: pa.Table, candidates: np.ndarray, key: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, dict[int, int]]:
    """Return rows to keep (sorted by row id and key), repeated ones, and repeated to the first.

    All are positions in `rows`. Hashes are sorted first; only rows whose hash occurs again are
    compared by key, and then stand in source order.
    """
    ids = rows.column(ROW_ID).to_numpy()[candidates]
    order = np.argsort(ids)
    ids, order = ids[order], candidates[order]
    same = ids[1:] == ids[:-1]
    if not same.any():
        return order, order[:0], {}
    crowded = np.zeros(len(order), dtype=bool)
    crowded[1:] |= same
    crowded[:-1] |= same
    names = [ROW_ID, *key, SOURCE_FILE, SOURCE_LINE]
    group = rows.select(names).take(pa.array(order[crowded])).combine_chunks()
    by_source = sorted_positions(group, names)
    order[crowded] = order[crowded][by_source.to_numpy()]
    group = group.take(by_source)
    equal = np.ones(group.num_rows - 1, dtype=bool)
    for name in key:
        column = group.column(name)
        # Keys are never null here: rows without one break `nullable`.
        pairs = compute.call_function("equal", [column.slice(1), column.slice(0, len(column) - 1)])
        equal &= pairs.to_numpy()
    repeat = np.concatenate([[False], equal])
    positions = np.flatnonzero(crowded)
    is_repeat = np.zeros(len(order), dtype=bool)
    is_repeat[positions] = repeat
    leaders = np.maximum.accumulate(np.where(repeat, 0, np.arange(len(repeat))))
    first = {
        int(order[positions[at]]): int(order[positions[leaders[at]]])
        for at in np.flatnonzero(repeat)
    }
    return order[~is_repeat], order[is_repeat], first
