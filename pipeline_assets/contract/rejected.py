"""Rejected rows and samples as people read them: where each came from, what it said, what it broke.

Runs inside engine tasks: NumPy and Arrow only.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import compute

from pipeline_assets.contract.names import (
    EARLIER,
    MALFORMED_LINE,
    MALFORMED_REASON,
    MALFORMED_TEXT,
    SOURCE_FILE,
    SOURCE_LINE,
    UNIQUE_KEY,
)

SAMPLES = 5
SAMPLE_CHARACTERS = 200
REJECTED_SCHEMA = pa.schema(
    {
        SOURCE_FILE: pa.string(),
        SOURCE_LINE: pa.int64(),
        "rules": pa.list_(pa.string()),
        "original": pa.string(),
    }
)


@dataclass(frozen=True, kw_only=True)
class RawColumn:
    """How a contract column's raw value is found again."""

    name: str
    """The contract's column."""
    kept: str | None
    """Column with the raw value where the typed one does not tell it; None where it always does."""
    text: bool
    """The raw value was text."""

    def restored(self, rows: pa.Table) -> list[Any]:
        """The raw values of judged rows, as Python values."""
        value = rows.column(self.name)
        if self.kept is None:
            return value.to_pylist()
        kept = rows.column(self.kept)
        if not self.text:
            return compute.call_function("coalesce", [kept, value]).to_pylist()
        if pa.types.is_integer(value.type) or pa.types.is_date(value.type):
            spelled = value.cast(kept.type)
            return compute.call_function("coalesce", [kept, spelled]).to_pylist()
        return kept.to_pylist()


def rejected_table(
    rows: pa.Table, broken: np.ndarray, rules: Sequence[str], columns: Sequence[RawColumn]
) -> pa.Table:
    """Return what `rejected` holds, in source order.

    Args:
        rows: judged rows.
        broken: bool [rows, rules], true where a row breaks a rule.
        rules: names of the rules.
        columns: the contract's columns.
    """
    by_source = sorted_positions(rows, [SOURCE_FILE, SOURCE_LINE])
    rows, broken = rows.take(by_source), broken[by_source.to_numpy()]
    offsets = np.concatenate([[0], np.cumsum(broken.sum(axis=1))]).astype(np.int32)
    names = pa.array(rules, pa.string()).take(pa.array(np.nonzero(broken)[1]))
    raw = [column.restored(rows) for column in columns]
    texts = rows.column(MALFORMED_TEXT).to_pylist()
    original = [
        json.dumps(
            {column.name: json_value(value) for column, value in zip(columns, values, strict=True)},
            ensure_ascii=False,
        )
        if text is None
        else text
        for text, *values in zip(texts, *raw, strict=True)
    ]
    return pa.table(
        [
            rows.column(SOURCE_FILE),
            rows.column(SOURCE_LINE),
            pa.ListArray.from_arrays(pa.array(offsets), names),
            pa.array(original, pa.string()),
        ],
        names=REJECTED_SCHEMA.names,
    ).cast(REJECTED_SCHEMA)


def samples(
    rule: str, rows: pa.Table, shown: Sequence[RawColumn], leaders: pa.Table | None = None
) -> list[dict[str, Any]]:
    """Return the first rows in source order as a person reads them.

    Args:
        rule: name of the rule that all rows break.
        rows: judged rows.
        shown: columns whose raw values are shown.
        leaders: for `unique_key`: origin of the row that was kept, for each of the rows; where it is of
            an earlier partition, `_earlier` names that.
    """
    if not rows.num_rows:
        return []
    earliest = sorted_positions(rows, [SOURCE_FILE, SOURCE_LINE], first=SAMPLES)
    rows = rows.take(earliest)
    found = rows.select([SOURCE_FILE, SOURCE_LINE]).to_pylist()
    for column in shown:
        for sample, value in zip(found, column.restored(rows), strict=True):
            sample[column.name] = shorten(json_value(value))
    if rule == MALFORMED_LINE:
        lines = rows.select([MALFORMED_REASON, MALFORMED_TEXT]).to_pylist()
        for sample, line in zip(found, lines, strict=True):
            sample["reason"] = line[MALFORMED_REASON]
            sample["text"] = shorten(line[MALFORMED_TEXT])
    if rule == UNIQUE_KEY and leaders is not None:
        for sample, kept in zip(found, leaders.take(earliest).to_pylist(), strict=True):
            partition = f" of partition {kept[EARLIER]}" if kept.get(EARLIER) else ""
            sample["kept"] = f"{kept[SOURCE_FILE]}:{kept[SOURCE_LINE]}{partition}"
    return found


def sorted_positions(table: pa.Table, names: Sequence[str], first: int | None = None) -> pa.Array:
    """Positions of the rows in ascending order, or of the `first` ones only."""
    keys = [(name, "ascending") for name in names]
    chosen = table.select(list(names))
    if first is None:
        return compute.call_function("sort_indices", [chosen], compute.SortOptions(keys))
    return compute.call_function("select_k_unstable", [chosen], compute.SelectKOptions(first, keys))


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
