"""Mistakes in a contract that can be seen without data or engine. Types and keys are `spec`'s own."""

import math
from collections.abc import Iterator
from decimal import Decimal

from pipeline_assets.contract.names import MALFORMED_LINE, UNIQUE_KEY
from pipeline_assets.contract.parsing import parse_text
from pipeline_assets.contract.patterns import PatternError, portable_pattern
from pipeline_assets.contract.rules import INTEGER_LIMITS, exact_number, rules_of
from pipeline_assets.spec.contract import Column, Contract
from pipeline_assets.spec.expressions import ExpressionError, columns_of, functions_of
from pipeline_assets.spec.functions import refusal, replacement
from pipeline_assets.spec.problems import Problem
from pipeline_assets.spec.suggestions import did_you_mean

RESERVED_NAMES = (
    "_row_id",
    "_split",
    "_source_file",
    "_source_line",
    "_bucket",
    "_earlier",
    "_reason",
    "_text",
)
RESERVED_PREFIXES = ("_raw_", "_parsed_", "_canonical_", "_typed_", "_flag_", "_broken_")


def contract_problems(contract: Contract) -> list[Problem]:
    """Everything wrong with a contract, addressed from the use case's root; empty where all is well."""
    problems = [*_key_problems(contract), *_name_problems(contract)]
    for index, column in enumerate(contract.columns):
        at = ("contract", "columns", index)
        problems.extend(_bounds_problems(column, at))
        problems.extend(_allowed_problems(column, at))
        problems.extend(_text_problems(column, at))
        problems.extend(_severity_problems(column, contract, at))
    problems.extend(_row_problems(contract))
    problems.extend(_table_problems(contract))
    return problems


def _key_problems(contract: Contract) -> Iterator[Problem]:
    for index, name in enumerate(contract.key):
        at = ("contract", "key", index)
        if name not in contract.names:
            yield Problem(
                path=at,
                message=f"the contract has no column {name!r}",
                suggestion=did_you_mean(name, contract.names, what="columns"),
            )
            continue
        if name in contract.key[:index]:
            yield Problem(path=at, message=f"column {name!r} is in the key twice")
        if contract.column(name).type in ("float32", "float64"):
            yield Problem(
                path=at,
                message=f"key column {name!r} is a {contract.column(name).type}: equal floating-point "
                "numbers are not a sound identity",
                suggestion="declare it as int64 or string",
            )


def _name_problems(contract: Contract) -> Iterator[Problem]:
    seen: dict[str, str] = {}
    for index, name in enumerate(contract.names):
        at = ("contract", "columns", index, "name")
        if name in RESERVED_NAMES or name.startswith(RESERVED_PREFIXES):
            yield Problem(
                path=at,
                message=f"the name {name!r} is reserved",
                suggestion="choose another and map it with source.columns",
            )
        if "`" in name or not name.isprintable():
            yield Problem(
                path=at,
                message=f"the name {name!r} has a backtick or control character",
                suggestion="choose another and map it with source.columns",
            )
        if name.lower() in seen:
            yield Problem(
                path=at,
                message=f"{name!r} and {seen[name.lower()]!r} differ in case only, SQL takes them as one",
            )
        seen.setdefault(name.lower(), name)


def _bounds_problems(column: Column, at: tuple[str | int, ...]) -> Iterator[Problem]:
    values: dict[str, float | Decimal] = {}
    for side in ("min", "max"):
        bound = getattr(column, side)
        if bound is None:
            continue
        if column.type in ("string", "boolean"):
            yield Problem(
                path=(*at, side),
                message=f"a {column.type} has no range",
                suggestion="use `allowed` or `pattern`",
            )
            return
        if column.type in ("date", "timestamp"):
            try:
                parsed = parse_text(str(bound), column.type)
                values[side] = parsed.toordinal() if column.type == "date" else parsed.timestamp()  # pyright: ignore[reportAttributeAccessIssue]
            except ValueError:
                yield Problem(
                    path=(*at, side),
                    message=f"{bound!r} is no {column.type}",
                    suggestion="write it as ISO text, like '2026-01-31'",
                )
                return
            continue
        try:
            values[side] = exact_number(bound)
            finite = math.isfinite(float(values[side]))
        except ValueError:
            finite = False
        if not finite:
            yield Problem(path=(*at, side), message=f"{bound!r} is no finite number")
            return
    low, high = values.get("min", -math.inf), values.get("max", math.inf)
    if low > high:
        yield Problem(
            path=(*at, "min"),
            message=f"min {column.min} is greater than max {column.max}: no value would be valid",
        )
    elif column.type in INTEGER_LIMITS and values:
        type_low, type_high = INTEGER_LIMITS[column.type]
        first, last = max(low, type_low), min(high, type_high)
        if first > last or math.ceil(first) > math.floor(last):
            yield Problem(
                path=(*at, "min" if column.min is not None else "max"),
                message=f"no {column.type} lies between min {column.min} and max {column.max}",
            )


def _allowed_problems(column: Column, at: tuple[str | int, ...]) -> Iterator[Problem]:
    if column.allowed is None:
        return
    if not column.allowed:
        yield Problem(path=(*at, "allowed"), message="no value is allowed")
    for index, value in enumerate(column.allowed):
        here = (*at, "allowed", index)
        if value is None:
            yield Problem(
                path=here, message="null is no allowed value", suggestion="write `nullable: true`"
            )
            continue
        if column.type == "string" and not isinstance(value, str):
            yield Problem(
                path=here,
                message=f"{value!r} is no text, YAML reads it as {type(value).__name__}",
                suggestion=f'quote it: "{value}"',
            )
            continue
        text = str(value).lower() if isinstance(value, bool) else str(value)
        try:
            parsed = parse_text(text, column.type)
        except ValueError:
            yield Problem(path=here, message=f"{value!r} is no {column.type}")
            continue
        if isinstance(parsed, float) and not math.isfinite(parsed):
            yield Problem(path=here, message=f"{value!r} is no finite number")


def _text_problems(column: Column, at: tuple[str | int, ...]) -> Iterator[Problem]:
    for key in ("pattern", "max_length"):
        if getattr(column, key) is not None and column.type != "string":
            yield Problem(
                path=(*at, key),
                message=f"{key} applies to text, the column's type is {column.type}",
                suggestion="declare it as string, or remove the rule",
            )
    if column.pattern is not None:
        try:
            portable_pattern(column.pattern)
        except PatternError as error:
            yield Problem(path=(*at, "pattern"), message=str(error))


def _severity_problems(
    column: Column, contract: Contract, at: tuple[str | int, ...]
) -> Iterator[Problem]:
    own = {rule.kind: rule for rule in rules_of(contract) if rule.column == column.name}
    for kind in column.severities:
        if kind not in own:
            yield Problem(
                path=(*at, "severities", kind),
                message=f"column {column.name!r} has no rule {kind!r}",
                suggestion=f"its rules: {', '.join(own) or 'none'}",
            )
    if column.name not in contract.key:
        return
    if column.nullable:
        yield Problem(
            path=(*at, "nullable"),
            message=f"{column.name!r} is part of the key, which cannot be missing",
            suggestion="remove `nullable: true`, or the column from the key",
        )
    for kind in ("type", "nullable"):
        if kind in own and own[kind].severity == "warn":
            yield Problem(
                path=(*at, "severities", kind) if kind in column.severities else (*at, "severity"),
                message=f"{column.name!r} is part of the key: its rule {kind!r} must be an error",
            )


def _row_problems(contract: Contract) -> Iterator[Problem]:
    seen = {UNIQUE_KEY, MALFORMED_LINE}
    for index, rule in enumerate(contract.rows):
        at = ("contract", "rows", index)
        if rule.name in seen:
            yield Problem(path=(*at, "name"), message=f"the rule name {rule.name!r} is taken")
        seen.add(rule.name)
        try:
            named, functions = columns_of(rule.expression), functions_of(rule.expression)
        except ExpressionError as error:
            yield Problem(path=(*at, "expression"), message=str(error))
            continue
        for name in sorted(named - set(contract.names)):
            yield Problem(
                path=(*at, "expression"),
                message=f"the contract has no column {name!r}",
                suggestion=did_you_mean(name, contract.names, what="columns"),
            )
        for function in sorted(functions):
            reason = refusal(function)
            if reason:
                yield Problem(
                    path=(*at, "expression"),
                    message=f"the rule calls {function}: {reason}",
                    suggestion=replacement(function),
                )
        if not named:
            yield Problem(path=(*at, "expression"), message="the expression names no column")


def _table_problems(contract: Contract) -> Iterator[Problem]:
    table = contract.table
    if table.max_rows is not None and table.min_rows > table.max_rows:
        yield Problem(
            path=("contract", "table", "min_rows"),
            message=f"min_rows {table.min_rows} is greater than max_rows {table.max_rows}",
        )
    for name, share in table.max_null_share.items():
        at = ("contract", "table", "max_null_share", name)
        if name not in contract.names:
            yield Problem(
                path=at,
                message=f"the contract has no column {name!r}",
                suggestion=did_you_mean(name, contract.names, what="columns"),
            )
        if not 0 <= share <= 1:
            yield Problem(path=at, message=f"{share} is no share between 0 and 1")
