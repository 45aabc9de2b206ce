"""The contract as SQL: a typed value per column, and a flag per rule, true where it is broken.

Flags are never null. Which rows are duplicates is no property of one row: see `writer`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline_assets.contract.casts import (
    SQL_TYPES,
    canonical_sql,
    cast_sql,
    is_nan_text_sql,
    matches_sql,
    plain_cast_sql,
    quote_name,
    quote_text,
)
from pipeline_assets.contract.names import canonical_name, parsed_name, raw_name, typed_name
from pipeline_assets.contract.patterns import portable_pattern
from pipeline_assets.contract.rules import Rule, integer_bounds, rules_of, severity_of
from pipeline_assets.spec.contract import Column, ColumnType, Contract

INTEGERS = ("int32", "int64")
FLOATS = ("float32", "float64")


@dataclass(frozen=True, kw_only=True)
class CompiledContract:
    """SQL in steps, each over the names that the ones before it made.

    The raw table's columns are first renamed to `raw_name(i)`, i counting contract columns from 0.
    What is used more than once is a step of its own, so that engines work it out once.
    """

    parsed: list[tuple[str, str]]
    """(parsed_name(i), SQL), for integers stored as text."""
    canonical: list[tuple[str, str]]
    """(canonical_name(i), SQL), for the same columns."""
    casts: list[tuple[str, str]]
    """(typed_name(i), SQL), for every column."""
    values: list[tuple[str, str]]
    """(contract column name, SQL over `typed_name(i)`): the value that `validated` holds."""
    flags: list[tuple[Rule, str]]
    """(rule, SQL over all names above), for every rule but `unique_key` and `malformed_line`."""
    row_id: str
    """SQL over contract columns: xxhash64 of the key's values as text."""
    kept: dict[str, str]
    """Contract column to SQL for its raw value where `restored` cannot tell it from the value: null
    elsewhere. Columns whose value always tells are not in it."""


def rule_expressions(
    contract: Contract,
    raw_types: Mapping[str, ColumnType] | None = None,
    *,
    timezone: str = "UTC",
) -> CompiledContract:
    """Compile a contract.

    Args:
        contract: what to compile.
        raw_types: stored type of raw columns: "string" (the default) or the contract's own type.
        timezone: IANA zone of timestamps without an offset, in raw text and in the contract's bounds.
    """
    raw_types = raw_types or {}
    index_of = {column.name: index for index, column in enumerate(contract.columns)}
    parsed, canonical, casts, values, kept = [], [], [], [], {}
    for index, column in enumerate(contract.columns):
        raw_type = raw_types.get(column.name, "string")
        raw, typed = raw_name(index), typed_name(index)
        cast = cast_sql(raw, raw_type, column.type, timezone=timezone)
        if raw_type == "string" and column.type in INTEGERS:
            plain, is_canonical = parsed_name(index), canonical_name(index)
            parsed.append((plain, plain_cast_sql(raw, column.type)))
            canonical.append((is_canonical, canonical_sql(raw, plain)))
            cast = f"CASE WHEN {is_canonical} THEN {plain} ELSE {cast} END"
        casts.append((typed, cast))
        if column.type in FLOATS and severity_of(column, "finite") == "warn":
            typed = f"CASE WHEN {_is_infinite(typed, column.type)} THEN NULL ELSE {typed} END"
        values.append((column.name, typed))
        different = _different(column, index, raw_type)
        if different is not None:
            kept[column.name] = f"CASE WHEN {different} THEN {raw} END"
    flags = []
    for rule in rules_of(contract):
        if rule.kind == "row":
            flags.append((rule, f"NOT coalesce(({rule.expression}), true)"))
        elif rule.column is not None:
            index = index_of[rule.column]
            raw_type = raw_types.get(rule.column, "string")
            broken = _broken(rule, contract.columns[index], index, raw_type, timezone)
            flags.append((rule, f"coalesce({broken}, false)"))
    keys = [_key_text(contract.column(name)) for name in contract.key]
    return CompiledContract(
        parsed=parsed,
        canonical=canonical,
        casts=casts,
        values=values,
        flags=flags,
        row_id=f"xxhash64({', '.join(keys)})",
        kept=kept,
    )


def _different(column: Column, index: int, raw_type: ColumnType) -> str | None:
    """SQL that is true where the value does not tell the raw value; None where it always does."""
    raw = raw_name(index)
    if column.type == "string" or (raw_type == column.type and column.type not in FLOATS):
        return None
    if raw_type == column.type:
        return f"{quote_name(column.name)} IS NULL"
    if column.type in INTEGERS:
        return f"NOT coalesce({canonical_name(index)}, false)"
    if column.type == "date":
        return f"NOT coalesce({canonical_sql(raw, typed_name(index))}, false)"
    return "true"


def _broken(rule: Rule, column: Column, index: int, raw_type: ColumnType, timezone: str) -> str:
    raw, typed, value = raw_name(index), typed_name(index), quote_name(column.name)
    uncastable = f"({raw} IS NOT NULL AND {typed} IS NULL)"
    if column.type in FLOATS:
        is_nan = is_nan_text_sql(raw) if raw_type == "string" else f"isnan({raw})"
        uncastable = f"({raw} IS NOT NULL AND {typed} IS NULL AND NOT {is_nan})"
    if rule.kind == "type":
        return uncastable if raw_type != column.type else "false"
    if rule.kind == "nullable":
        # A value that cannot be cast already breaks `type`; only where that merely warns, and the
        # value therefore becomes null, is it missing as well.
        if severity_of(column, "type") == "error" and raw_type != column.type:
            return f"({value} IS NULL AND NOT {uncastable})"
        return f"({value} IS NULL)"
    if rule.kind == "finite":
        return _is_infinite(typed, column.type)
    if rule.kind == "range":
        return _outside(value, column, timezone)
    if rule.kind == "allowed":
        allowed = ", ".join(literal(item, column.type, timezone) for item in column.allowed or [])
        return f"({value} NOT IN ({allowed}))" if allowed else f"({value} IS NOT NULL)"
    if rule.kind == "pattern":
        return f"(NOT {matches_sql(value, portable_pattern(column.pattern or ''))})"
    return f"(char_length({value}) > {column.max_length})"


def _outside(value: str, column: Column, timezone: str) -> str:
    if column.type in ("int32", "int64"):
        low, high = integer_bounds(column)
        if low > high:
            return f"({value} IS NOT NULL)"
        low_sql, high_sql = literal(low, column.type), literal(high, column.type)
    else:
        bounds = (column.min, column.max)
        low_sql, high_sql = (
            literal(bound, column.type, timezone) if bound is not None else None for bound in bounds
        )
    sides = []
    if column.min is not None:
        sides.append(f"{value} < {low_sql}")
    if column.max is not None:
        sides.append(f"{value} > {high_sql}")
    return f"({' OR '.join(sides)})"


def literal(value: object, column_type: ColumnType, timezone: str = "UTC") -> str:
    """SQL literal of a contract's value, by the casting rules of the column's type.

    A float32 column is compared with the nearest float32, so that `max: 0.1` allows the text 0.1.
    """
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if column_type == "string":
        return quote_text(text)
    if column_type in ("int32", "int64"):
        return f"CAST({quote_text(str(int(text.partition('.')[0])))} AS BIGINT)"
    if column_type in FLOATS:
        return f"CAST({quote_text(text)} AS {SQL_TYPES[column_type]})"
    return cast_sql(quote_text(text), "string", column_type, timezone=timezone)


def _is_infinite(operand: str, column_type: ColumnType) -> str:
    return f"(abs({operand}) = CAST('Infinity' AS {SQL_TYPES[column_type]}))"


def _key_text(column: Column) -> str:
    name = quote_name(column.name)
    # The text of a timestamp depends on the session's zone and the engine; its microseconds do not.
    if column.type == "timestamp":
        return f"CAST(unix_micros({name}) AS STRING)"
    return name if column.type == "string" else f"CAST({name} AS STRING)"
