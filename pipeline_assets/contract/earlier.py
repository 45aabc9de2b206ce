"""Keys that rows of earlier partitions have taken: which rows count, and what of them travels.

A key belongs to the first sound row that was delivered with it: one that breaks no rule of severity
error, repeated keys aside. Earlier rows are judged anew from raw, so it does not matter in which order
partitions are validated; and a row that was broken when it first came may be delivered again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

from pipeline_assets.contract.casts import SQL_TYPES, quote_name
from pipeline_assets.contract.expressions import rule_expressions
from pipeline_assets.contract.judging import judge, raw_types_of
from pipeline_assets.contract.names import (
    EARLIER,
    ROW_ID,
    SOURCE_FILE,
    SOURCE_LINE,
    flag_name,
    raw_name,
)
from pipeline_assets.contract.results import ContractError
from pipeline_assets.engine.reading import read_version
from pipeline_assets.lake.version import Version
from pipeline_assets.spec.contract import ColumnType, Contract
from pipeline_assets.spec.expressions import columns_of

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


@dataclass(frozen=True, kw_only=True)
class EarlierRaw:
    """What was delivered for a partition before the one that is validated."""

    partition: str
    """Its key, for whoever looks for the row that came first."""
    raw: Version
    """Its raw version."""
    contract: Contract
    """Its rules, see `partition_rule.partition_contract`."""


def taken_keys(
    spark: "SparkSession", earlier: Sequence[EarlierRaw], timezone: str
) -> "DataFrame | None":
    """Return the sound rows of earlier partitions; None where nothing came earlier.

    Columns: `_row_id`, the key, `_source_file`, `_source_line`, and `_earlier` (int), which counts the
    partitions from 0.

    Raises:
        ContractError: a raw version lacks a key column or has it in a foreign type.
    """
    alike: dict[tuple[tuple[str, ColumnType], ...], list[tuple[int, Contract, DataFrame]]] = {}
    for index, part in enumerate(earlier):
        if not part.raw.uris("rows", ".parquet"):
            continue
        frame = read_version(spark, part.raw, folder="rows")
        contract = _applicable(part.contract, dict(frame.dtypes))
        raw_types = _raw_types(part.partition, frame, contract)
        raw = frame.selectExpr(
            *(f"{quote_name(name)} AS {raw_name(i)}" for i, name in enumerate(contract.names)),
            SOURCE_FILE,
            SOURCE_LINE,
            f"{index} AS {EARLIER}",
        )
        alike.setdefault(tuple(raw_types.items()), []).append((index, contract, raw))
    frames = [
        _sound_rows(
            _together({index: contract for index, contract, _ in group}),
            dict(raw_types),
            reduce(_union, (raw for *_, raw in group)),
            timezone,
        )
        for raw_types, group in alike.items()
    ]
    return reduce(_union, frames) if frames else None


def _sound_rows(
    contract: Contract, raw_types: Mapping[str, ColumnType], raw: "DataFrame", timezone: str
) -> "DataFrame":
    compiled = rule_expressions(contract, raw_types, timezone=timezone)
    broken = [
        flag_name(i) for i, (rule, _) in enumerate(compiled.flags) if rule.severity == "error"
    ]
    return (
        judge(raw, compiled)
        .where(f"NOT ({' OR '.join(broken)})")
        .select(ROW_ID, *map(quote_name, contract.key), SOURCE_FILE, SOURCE_LINE, EARLIER)
    )


def _together(contracts: Mapping[int, Contract]) -> Contract:
    """One contract for rows of partitions whose contracts differ in the expressions of row rules alone.

    They are judged in one go: with a branch of the plan for each hour of a day, validating took nearly
    five times as long.
    """
    (first, *_) = contracts.values()
    rules = []
    for same in zip(*(contract.rows for contract in contracts.values()), strict=True):
        expression = same[0].expression
        if any(rule.expression != expression for rule in same):
            cases = [
                f"WHEN {index} THEN ({rule.expression})"
                for index, rule in zip(contracts, same, strict=True)
            ]
            expression = f"CASE {EARLIER} {' '.join(cases)} END"
        rules.append(same[0].model_copy(update={"expression": expression}))
    return first.model_copy(update={"rows": rules})


def _raw_types(partition: str, frame: "DataFrame", contract: Contract) -> dict[str, ColumnType]:
    try:
        return raw_types_of(frame.dtypes, contract)
    except ContractError as error:
        raise ContractError(
            f"partition {partition}, whose keys are taken (time.unique_lookback): {error}"
        ) from error


def _union(one: "DataFrame", other: "DataFrame") -> "DataFrame":
    return one.unionAll(other)


def _applicable(contract: Contract, found: dict[str, str]) -> Contract:
    """The contract without what an earlier delivery cannot be judged by, its key excepted.

    When a column comes or changes its type, yesterday's rows were delivered without it; they were
    good rows then, and their keys stay taken.
    """
    columns = [
        column
        for column in contract.columns
        if found.get(column.name) in ("string", SQL_TYPES[column.type].lower())
        or column.name in contract.key
    ]
    if len(columns) == len(contract.columns):
        return contract
    names = {column.name for column in columns}
    rows = [rule for rule in contract.rows if columns_of(rule.expression) <= names]
    return contract.model_copy(update={"columns": columns, "rows": rows})
