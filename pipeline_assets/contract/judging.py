"""The plan's front part: raw rows brought together by key, and judged by the compiled contract."""

from typing import TYPE_CHECKING

from pipeline_assets.contract.casts import SQL_TYPES, cast_sql, quote_name
from pipeline_assets.contract.expressions import CompiledContract
from pipeline_assets.contract.names import (
    BUCKET,
    MALFORMED_REASON,
    MALFORMED_TEXT,
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

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


def raw_types_of(dtypes: list[tuple[str, str]], contract: Contract) -> dict[str, ColumnType]:
    """Stored type per contract column: string, or the contract's. Raises `ContractError` otherwise."""
    found = dict(dtypes)
    types: dict[str, ColumnType] = {}
    for column in contract.columns:
        expected = SQL_TYPES[column.type].lower()
        if column.name not in found:
            raise ContractError(
                f"the raw version has no column {column.name!r}; it has {', '.join(found)}. "
                "Materialise raw again with this contract"
            )
        if found[column.name] not in ("string", expected):
            raise ContractError(
                f"raw stores column {column.name!r} as {found[column.name]}, the contract wants "
                f"{expected}. Materialise raw again with this contract"
            )
        types[column.name] = "string" if found[column.name] == "string" else column.type
    return types


def check_row_rules(spark: "SparkSession", contract: Contract) -> None:
    """Have the engine analyse each row rule, so that a refusal names the rule."""
    from pyspark.errors import PySparkException

    if not contract.rows:
        return
    empty = spark.createDataFrame(
        [], ", ".join(f"{quote_name(c.name)} {SQL_TYPES[c.type]}" for c in contract.columns)
    )
    for rule in contract.rows:
        try:
            ((_, found),) = empty.selectExpr(f"({rule.expression}) AS verdict").dtypes
        except PySparkException as error:
            reason = str(error).strip().splitlines()[0]
            raise ContractError(
                f"the engine refuses row rule {rule.name!r} ({rule.expression}): {reason}"
            ) from error
        if found not in ("boolean", "void"):
            raise ContractError(
                f"row rule {rule.name!r} ({rule.expression}) gives {found}, not true or false"
            )


def gather(
    spark: "SparkSession",
    raw: Version,
    frame: "DataFrame",
    contract: Contract,
    raw_types: dict[str, ColumnType],
    buckets: int,
) -> "DataFrame":
    """Raw rows and malformed lines under `raw_name`s, equal keys in one bucket and task."""
    columns = contract.columns
    rows = frame.selectExpr(
        *(f"{quote_name(column.name)} AS {raw_name(i)}" for i, column in enumerate(columns)),
        SOURCE_FILE,
        f"CAST({SOURCE_LINE} AS BIGINT) AS {SOURCE_LINE}",
        f"CAST(NULL AS STRING) AS {MALFORMED_REASON}",
        f"CAST(NULL AS STRING) AS {MALFORMED_TEXT}",
    )
    if raw.uris("malformed"):
        types = [SQL_TYPES[raw_types[column.name]] for column in columns]
        malformed = read_version(spark, raw, folder="malformed").selectExpr(
            *(f"CAST(NULL AS {sql_type}) AS {raw_name(i)}" for i, sql_type in enumerate(types)),
            SOURCE_FILE,
            f"CAST({SOURCE_LINE} AS BIGINT) AS {SOURCE_LINE}",
            f"reason AS {MALFORMED_REASON}",
            f"text AS {MALFORMED_TEXT}",
        )
        rows = rows.unionAll(malformed)
    index_of = {column.name: i for i, column in enumerate(columns)}
    keys = [
        cast_sql(raw_name(index_of[name]), raw_types[name], contract.column(name).type)
        for name in contract.key
    ]
    # Rows without a key compete with nobody: spread by their origin they overload no single task.
    missing = " OR ".join(f"({key}) IS NULL" for key in keys)
    bucket = (
        f"CAST(pmod(CASE WHEN {missing} THEN xxhash64({SOURCE_FILE}, {SOURCE_LINE}) "
        f"ELSE xxhash64({', '.join(keys)}) END, {buckets}) AS INT)"
    )
    return rows.selectExpr("*", f"{bucket} AS {BUCKET}").repartition(buckets, BUCKET)


def judge(raw: "DataFrame", compiled: CompiledContract) -> "DataFrame":
    """Add typed values (by contract name), `_row_id` and a flag per rule to rows with `raw_name`s.

    Flags are named `flag_name(i)` in the order of `compiled.flags`.
    """
    cast_columns = [f"{sql} AS {name}" for name, sql in compiled.casts]
    values = [f"{sql} AS {quote_name(name)}" for name, sql in compiled.values]
    flags = [f"{sql} AS {flag_name(i)}" for i, (_, sql) in enumerate(compiled.flags)]
    judged = raw.selectExpr("*", *cast_columns).selectExpr("*", *values)
    judged = judged.selectExpr("*", f"{compiled.row_id} AS {ROW_ID}", *flags)
    return judged.drop(*(name for name, _ in compiled.casts))
