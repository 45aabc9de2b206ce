"""The rules of a contract by name: what may be broken, and how severely. How they are tested is in
`expressions` (SQL) and `pandera_schema` (pandas).
"""

import math
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Literal

from pipeline_assets.contract.names import MALFORMED_LINE, UNIQUE_KEY
from pipeline_assets.spec.contract import Column, Contract, Severity

Kind = Literal[
    "type", "nullable", "finite", "range", "allowed", "pattern", "max_length",
    "row", "unique_key", "malformed_line",
]  # fmt: skip

INTEGER_LIMITS = {"int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1)}


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One rule of a contract."""

    name: str
    """`<column>.<kind>`, the row rule's own name, `unique_key` or `malformed_line`."""
    kind: Kind
    severity: Severity
    column: str | None = None
    """The column of a column rule."""
    expression: str | None = None
    """The SQL of a row rule."""


def rules_of(contract: Contract) -> list[Rule]:
    """All rules in a fixed order: per column, then rows, then `unique_key` and `malformed_line`."""
    rules = []
    for column in contract.columns:
        for kind in _kinds(column, is_key=column.name in contract.key):
            rules.append(
                Rule(
                    name=f"{column.name}.{kind}",
                    kind=kind,
                    severity=severity_of(column, kind),
                    column=column.name,
                )
            )
    for row in contract.rows:
        rules.append(
            Rule(name=row.name, kind="row", severity=row.severity, expression=row.expression)
        )
    rules.append(Rule(name=UNIQUE_KEY, kind="unique_key", severity="error"))
    rules.append(Rule(name=MALFORMED_LINE, kind="malformed_line", severity="error"))
    return rules


def severity_of(column: Column, kind: str) -> Severity:
    """Severity of one rule of a column."""
    for declared, severity in column.severities.items():
        if declared == kind:
            return severity
    return column.severity


def integer_bounds(column: Column) -> tuple[int, int]:
    """Smallest and largest integer within `min`..`max` and the column's type, both inclusive."""
    low, high = INTEGER_LIMITS[column.type]
    if column.min is not None:
        low = max(low, math.ceil(exact_number(column.min)))
    if column.max is not None:
        high = min(high, math.floor(exact_number(column.max)))
    return low, high


def exact_number(value: int | float | str) -> Decimal:
    """A number as it is written: floats would round integers beyond 2**53.

    Raises:
        ValueError: for a text that is no number.
    """
    try:
        return Decimal(str(value))
    except InvalidOperation:
        raise ValueError(f"{value!r} is no number") from None


def _kinds(column: Column, *, is_key: bool) -> list[Kind]:
    kinds: list[Kind] = []
    if column.type != "string":
        kinds.append("type")
    if is_key or not column.nullable:
        kinds.append("nullable")
    if column.type in ("float32", "float64"):
        kinds.append("finite")
    if column.min is not None or column.max is not None:
        kinds.append("range")
    if column.allowed is not None:
        kinds.append("allowed")
    if column.pattern is not None:
        kinds.append("pattern")
    if column.max_length is not None:
        kinds.append("max_length")
    return kinds
