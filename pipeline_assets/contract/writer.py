"""What one engine task does with judged rows: finds repeated keys, writes both outputs, counts.

Runs inside `mapInArrow`, on any host: NumPy, Arrow and the lake's Parquet writer only. The judged
rows come in no particular order (engines may drop a sort), so everything is sorted here.
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
    MALFORMED_LINE,
    MALFORMED_REASON,
    MALFORMED_TEXT,
    ROW_ID,
    SOURCE_FILE,
    SOURCE_LINE,
    UNIQUE_KEY,
)
from pipeline_assets.lake.parquet import write_parquet
from pipeline_assets.lake.slots import task_slot

SAMPLES = 5
SAMPLE_CHARACTERS = 200
SUMMARY_SCHEMA = "summary string"
REJECTED_SCHEMA = pa.schema(
    {
        SOURCE_FILE: pa.string(),
        SOURCE_LINE: pa.int64(),
        "rules": pa.list_(pa.string()),
        "original": pa.string(),
    }
)


@dataclass(frozen=True, kw_only=True)
class RuleColumns:
    """A rule as the task sees it."""

    name: str
    rejects: bool
    """Severity is error."""
    flag: str | None
    """The column that is true where the rule is broken; None for `unique_key` (found here) and
    `malformed_line` (rows with a text)."""
    shown: tuple[str, ...]
    """Contract columns whose raw values a sample shows."""


@dataclass(frozen=True, kw_only=True)
class BucketWriter:
    """The function of `mapInArrow`: judged rows in, one JSON summary per bucket out."""

    key: tuple[str, ...]
    """Key columns of the contract."""
    schema: pa.Schema
    """Schema of the validated rows."""
    raw_names: dict[str, str]
    """Contract column to the column that holds its raw value."""
    rules: tuple[RuleColumns, ...]
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
        flags = self._flags(rows)
        broken = np.zeros(rows.num_rows, dtype=bool)
        for rule in self.rules:
            if rule.rejects:
                broken |= flags[rule.name]
        kept, repeated, first = self._unique(rows, np.flatnonzero(~broken))
        flags[UNIQUE_KEY][repeated] = True
        broken[repeated] = True
        validated = rows.select(self.schema.names).take(pa.array(kept)).cast(self.schema)
        rejected = self._rejected(rows, np.flatnonzero(broken), flags)
        name = f"rows/part-{bucket:05d}.parquet"
        return {
            "rows": rows.num_rows,
            "validated": self._file(name, validated, self.validated_uri, self.validated_options),
            "rejected": self._file(name, rejected, self.rejected_uri, self.rejected_options),
            "violations": {name: int(flag.sum()) for name, flag in flags.items()},
            "nulls": {name: validated.column(name).null_count for name in self.raw_names},
            "samples": {
                rule.name: self._samples(rule, rows, np.flatnonzero(flags[rule.name]), first)
                for rule in self.rules
            },
        }

    def _flags(self, rows: pa.Table) -> dict[str, np.ndarray]:
        """Rule to a mask of the rows that break it. A malformed line has no values to judge."""
        malformed = rows.column(MALFORMED_TEXT).is_valid().to_numpy()
        flags = {
            rule.name: rows.column(rule.flag).to_numpy() & ~malformed
            if rule.flag is not None
            else np.zeros(rows.num_rows, dtype=bool)
            for rule in self.rules
        }
        flags[MALFORMED_LINE] = malformed
        return flags

    def _unique(
        self, rows: pa.Table, candidates: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, dict[int, int]]:
        """Return rows to keep (sorted by row id and key), repeated ones, and repeated to the first.

        All are positions in `rows`. Hashes are sorted first; only rows whose hash occurs again are
        compared by key, and then stand in source order.
        """
        ids = rows.column(ROW_ID).to_numpy()[candidates]
        order = np.argsort(ids, kind="stable")
        ids, order = ids[order], candidates[order]
        same = ids[1:] == ids[:-1]
        if not same.any():
            return order, order[:0], {}
        crowded = np.zeros(len(order), dtype=bool)
        crowded[1:] |= same
        crowded[:-1] |= same
        names = [ROW_ID, *self.key, SOURCE_FILE, SOURCE_LINE]
        group = rows.select(names).take(pa.array(order[crowded])).combine_chunks()
        by_source = _sorted_positions(group, names)
        order[crowded] = order[crowded][by_source.to_numpy()]
        group = group.take(by_source)
        equal = np.ones(group.num_rows - 1, dtype=bool)
        for name in self.key:
            column = group.column(name)
            # Keys are never null here: rows without one break `nullable`.
            pairs = compute.call_function(
                "equal", [column.slice(1), column.slice(0, len(column) - 1)]
            )
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

    def _rejected(
        self, rows: pa.Table, positions: np.ndarray, flags: dict[str, np.ndarray]
    ) -> pa.Table:
        needed = [SOURCE_FILE, SOURCE_LINE, MALFORMED_TEXT, *self.raw_names.values()]
        chosen = rows.select(needed).take(pa.array(positions)).combine_chunks()
        by_source = _sorted_positions(chosen, [SOURCE_FILE, SOURCE_LINE])
        chosen, positions = chosen.take(by_source), positions[by_source.to_numpy()]
        names = pa.array(list(flags), type=pa.string())
        matrix = np.stack([flag[positions] for flag in flags.values()], axis=1)
        offsets = np.concatenate([[0], np.cumsum(matrix.sum(axis=1))]).astype(np.int32)
        rules = pa.ListArray.from_arrays(
            pa.array(offsets), names.take(pa.array(np.nonzero(matrix)[1]))
        )
        raw = chosen.select(list(self.raw_names.values())).rename_columns(list(self.raw_names))
        texts = chosen.column(MALFORMED_TEXT).to_pylist()
        original = [
            json.dumps({name: json_value(value) for name, value in row.items()}, ensure_ascii=False)
            if text is None
            else text
            for row, text in zip(raw.to_pylist(), texts, strict=True)
        ]
        return pa.table(
            [
                chosen.column(SOURCE_FILE),
                chosen.column(SOURCE_LINE),
                rules,
                pa.array(original, pa.string()),
            ],
            names=REJECTED_SCHEMA.names,
        ).cast(REJECTED_SCHEMA)

    def _samples(
        self, rule: RuleColumns, rows: pa.Table, positions: np.ndarray, first: dict[int, int]
    ) -> list[dict[str, Any]]:
        if not len(positions):
            return []
        source = rows.select([SOURCE_FILE, SOURCE_LINE])
        earliest = _sorted_positions(
            source.take(pa.array(positions)), [SOURCE_FILE, SOURCE_LINE], first=SAMPLES
        )
        samples = []
        for at in positions[earliest.to_numpy()].tolist():
            sample: dict[str, Any] = dict(source.slice(at, 1).to_pylist()[0])
            for name in rule.shown:
                sample[name] = shorten(json_value(rows.column(self.raw_names[name])[at].as_py()))
            if rule.name == MALFORMED_LINE:
                sample["reason"] = rows.column(MALFORMED_REASON)[at].as_py()
                sample["text"] = shorten(rows.column(MALFORMED_TEXT)[at].as_py())
            if rule.name == UNIQUE_KEY:
                kept = source.slice(first[at], 1).to_pylist()[0]
                sample["kept"] = f"{kept[SOURCE_FILE]}:{kept[SOURCE_LINE]}"
            samples.append(sample)
        return samples

    @staticmethod
    def _file(
        name: str, table: pa.Table, uri: str, options: dict[str, Any]
    ) -> dict[str, Any] | None:
        if not table.num_rows:
            return None
        target = f"{uri.rstrip('/')}/{name}"
        return asdict(write_parquet(table, target, storage_options=options, path=name))


def _sorted_positions(table: pa.Table, names: list[str], first: int | None = None) -> pa.Array:
    """Positions of the rows in ascending order, or of the `first` ones only."""
    keys = [(name, "ascending") for name in names]
    if first is None:
        return compute.call_function("sort_indices", [table], compute.SortOptions(keys))
    return compute.call_function("select_k_unstable", [table], compute.SelectKOptions(first, keys))


def json_value(value: Any) -> Any:
    """A raw value as JSON holds it: numbers and booleans as they are, the rest as ISO text."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if value - value == 0 else str(value)  # NaN and infinities are no JSON
    return value.isoformat()


def shorten(value: Any) -> Any:
    """Cut a long text to what a person reads in a table, and say how long it was."""
    if isinstance(value, str) and len(value) > SAMPLE_CHARACTERS:
        return f"{value[:SAMPLE_CHARACTERS]}… ({len(value)} characters)"
    return value
