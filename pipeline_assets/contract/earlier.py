"""Keys that rows of earlier partitions have taken: which rows count, and what of them travels.

A key belongs to the first sound row that was delivered with it: one that breaks no rule of severity
error, repeated keys aside. Earlier rows are judged anew from raw, so it does not matter in which order
partitions are validated; and a row that was broken when it first came may be delivered again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

from pipeline_assets.contract.casts import SQL_TYPES, quote_name
from pipeline_assets.contract.expressions import rule_expressions
from pipeline_assets.contract.judging import judge, raw_rows, raw_types_of
from pipeline_assets.contract.names import EARLIER, ROW_ID, SOURCE_FILE, SOURCE_LINE, flag_name
from pipeline_assets.contract.results import ContractError
from pipeline_assets.engine.reading import read_version
from pipeline_assets.lake.version import Version
from pipeline_assets.spec.contract import Contract
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
    """Return the sound rows of earlier partitions: `_row_id`, key columns, origin and `_earlier`.

    `_earlier` (int) counts the partitions from 0, in the order given. None where nothing came earlier.

    Raises:
        ContractError: a raw version lacks a key column or has it in a foreign type.
    """
    frames = [
        _sound_rows(spark, part, index, timezone)
        for index, part in enumerate(earlier)
        if part.raw.uris("rows", ".parquet")
    ]
    return reduce(lambda one, other: one.unionAll(other), frames) if frames else None


def _sound_rows(spark: "SparkSession", part: EarlierRaw, index: int, timezone: str) -> "DataFrame":
    frame = read_version(spark, part.raw, folder="rows")
    contract = _applicable(part.contract, dict(frame.dtypes))
    try:
        raw_types = raw_types_of(frame.dtypes, contract)
    except ContractError as error:
        raise ContractError(
            f"partition {part.partition}, whose keys are taken (time.unique_lookback): {error}"
        ) from error
    compiled = rule_expressions(contract, raw_types, timezone=timezone)
    judged = judge(raw_rows(spark, part.raw, frame, contract, raw_types), compiled)
    broken = [
        flag_name(i) for i, (rule, _) in enumerate(compiled.flags) if rule.severity == "error"
    ]
    return judged.where(f"NOT ({' OR '.join(broken)})").selectExpr(
        ROW_ID,
        *(quote_name(name) for name in contract.key),
        SOURCE_FILE,
        SOURCE_LINE,
        f"{index} AS {EARLIER}",
    )


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
