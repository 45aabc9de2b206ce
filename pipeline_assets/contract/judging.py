"""The plan's front part: raw rows judged by the compiled contract, and brought together by key."""

from typing import TYPE_CHECKING

from pipeline_assets.contract.casts import SQL_TYPES, quote_name
from pipeline_assets.contract.expressions import CompiledContract
from pipeline_assets.contract.names import (
    BUCKET,
    EARLIER,
    MALFORMED_LINE,
    MALFORMED_REASON,
    MALFORMED_TEXT,
    ROW_ID,
    RULES_PER_SET,
    SOURCE_FILE,
    SOURCE_LINE,
    broken_name,
    flag_name,
    raw_name,
)
from pipeline_assets.contract.results import ContractError
from pipeline_assets.contract.rules import rules_of
from pipeline_assets.engine.bucketing import one_task_per_bucket
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


def raw_rows(
    spark: "SparkSession",
    raw: Version,
    frame: "DataFrame",
    contract: Contract,
    raw_types: dict[str, ColumnType],
) -> "DataFrame":
    """Raw rows and malformed lines under `raw_name`s, with where they come from."""
    columns = contract.columns
    rows = frame.selectExpr(
        *(f"{quote_name(column.name)} AS {raw_name(i)}" for i, column in enumerate(columns)),
        SOURCE_FILE,
        f"CAST({SOURCE_LINE} AS BIGINT) AS {SOURCE_LINE}",
        f"CAST(NULL AS STRING) AS {MALFORMED_REASON}",
        f"CAST(NULL AS STRING) AS {MALFORMED_TEXT}",
    )
    if not raw.uris("malformed"):
        return rows
    types = [SQL_TYPES[raw_types[column.name]] for column in columns]
    malformed = read_version(spark, raw, folder="malformed").selectExpr(
        *(f"CAST(NULL AS {sql_type}) AS {raw_name(i)}" for i, sql_type in enumerate(types)),
        SOURCE_FILE,
        f"CAST({SOURCE_LINE} AS BIGINT) AS {SOURCE_LINE}",
        f"reason AS {MALFORMED_REASON}",
        f"text AS {MALFORMED_TEXT}",
    )
    return rows.unionAll(malformed)


def judge(raw: "DataFrame", compiled: CompiledContract) -> "DataFrame":
    """Add typed values (by contract name), `_row_id` and a flag per rule to rows with `raw_name`s.

    Flags are named `flag_name(i)` in the order of `compiled.flags`. The columns of the steps before
    them stay: select what is wanted.
    """
    judged = raw
    for step in (compiled.parsed, compiled.canonical, compiled.casts):
        judged = judged.selectExpr("*", *(f"{sql} AS {name}" for name, sql in step))
    values = [f"{sql} AS {quote_name(name)}" for name, sql in compiled.values]
    flags = [f"{sql} AS {flag_name(i)}" for i, (_, sql) in enumerate(compiled.flags)]
    judged = judged.selectExpr("*", *values)
    return judged.selectExpr("*", f"{compiled.row_id} AS {ROW_ID}", *flags)


def gather(
    judged: "DataFrame",
    compiled: CompiledContract,
    contract: Contract,
    buckets: int,
    taken: "DataFrame | None" = None,
) -> "DataFrame":
    """Bring judged rows together by key, in the form that `BucketWriter` takes.

    `taken` are rows as `earlier.taken_keys` gives them, which are brought to those of the same key:
    only then is there a column `_earlier`, and nothing else of them.

    Everything that does not tell a row from a good one stays behind: what one row costs here is
    shuffled, and on Apache Spark converted row by row. Columns: the contract's, the raw values of
    `compiled.kept`, origin, `_row_id`, the broken rules as bit sets, and the bucket.
    """
    missing = " OR ".join(f"{quote_name(name)} IS NULL" for name in contract.key)
    # Rows without a key compete with nobody: spread by their origin they overload no single task.
    spread_by = f"CASE WHEN {missing} THEN xxhash64({SOURCE_FILE}, {SOURCE_LINE}) ELSE {ROW_ID} END"
    rows = judged.selectExpr(
        *(quote_name(name) for name in contract.names),
        *(f"{sql} AS {raw_name(contract.names.index(n))}" for n, sql in compiled.kept.items()),
        *(SOURCE_FILE, SOURCE_LINE, MALFORMED_REASON, MALFORMED_TEXT, ROW_ID),
        *(f"{sql} AS {broken_name(i)}" for i, sql in enumerate(_bit_sets(contract, compiled))),
        f"CAST(pmod({spread_by}, {buckets}) AS INT) AS {BUCKET}",
    )
    if taken is not None:
        rows = rows.selectExpr("*", f"CAST(NULL AS INT) AS {EARLIER}")
        bucket = f"CAST(pmod({ROW_ID}, {buckets}) AS INT) AS {BUCKET}"
        columns = [ROW_ID, *contract.key, SOURCE_FILE, SOURCE_LINE, EARLIER]
        own = {**{name: quote_name(name) for name in columns}, BUCKET: bucket}
        rows = rows.unionAll(
            taken.selectExpr(
                *(
                    own.get(name, f"CAST(NULL AS {kind}) AS {quote_name(name)}")
                    for name, kind in rows.dtypes
                )
            )
        )
    return one_task_per_bucket(rows, BUCKET, buckets)


def _bit_sets(contract: Contract, compiled: CompiledContract) -> list[str]:
    """SQL per bit set. A malformed line breaks the one rule: it has no values to judge."""
    flag_of = {rule.name: flag_name(i) for i, (rule, _) in enumerate(compiled.flags)}
    names = [rule.name for rule in rules_of(contract)]
    sets = []
    for start in range(0, len(names), RULES_PER_SET):
        bits = {name: f"{1 << bit}L" for bit, name in enumerate(names[start:][:RULES_PER_SET])}
        flags = [(flag_of[name], bit) for name, bit in bits.items() if name in flag_of]
        some = " OR ".join(flag for flag, _ in flags) or "false"
        total = " + ".join(f"CASE WHEN {flag} THEN {bit} ELSE 0L END" for flag, bit in flags)
        sets.append(
            f"CASE WHEN {MALFORMED_TEXT} IS NOT NULL THEN {bits.get(MALFORMED_LINE, '0L')} "
            f"WHEN {some} THEN {total or '0L'} ELSE 0L END"
        )
    return sets
