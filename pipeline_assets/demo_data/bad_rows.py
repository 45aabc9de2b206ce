"""What is wrong with the bad rows of generated files: one thing each, so that counts are known."""

from collections.abc import Sequence
from dataclasses import dataclass

KINDS = ("wrong_type", "out_of_range", "unknown_category", "duplicate_key", "malformed_line")

_CHANGES = {
    "wrong_type": (
        ("Age", "forty-two"),
        ("Balance", "12.5k"),
        ("CreditScore", "6O0"),
        ("IsActiveMember", "yes"),
    ),
    "out_of_range": (
        ("Age", "230"),
        ("CreditScore", "1200"),
        ("Tenure", "-4"),
        ("EstimatedSalary", "-50.5"),
        ("Balance", "-1000"),
        ("NumOfProducts", "9"),
    ),
    "unknown_category": (
        ("Geography", "Atlantis"),
        ("Gender", "Unknown"),
        ("Geography", "france"),
    ),
}

_RULES = {"wrong_type": "type", "out_of_range": "range", "unknown_category": "allowed"}

_BROKEN = ("too_few_fields", "too_many_fields", "undecodable")


@dataclass(frozen=True, kw_only=True)
class Spoiled:
    """A bad row."""

    kind: str
    """One of KINDS."""
    rule: str
    """The one rule of the churn contract that it breaks."""
    values: dict[str, str]
    """Column to text."""
    broken: str | None = None
    """How a malformed line is malformed."""


def bad_row_count(rows: int, bad_share: float) -> int:
    """Number of bad rows: at least one of each kind, unless there shall be none."""
    return max(len(KINDS), round(rows * bad_share)) if bad_share > 0 else 0


def spoil(row: dict[str, str], index: int, *, earlier_id: int | None) -> Spoiled:
    """Break a good row in the way that belongs to the index-th bad row.

    Args:
        row: column to text.
        index: number of the bad row; the kinds take turns.
        earlier_id: customer id of a row that stands before, for a repeated key.
    """
    kind, turn = KINDS[index % len(KINDS)], index // len(KINDS)
    if kind == "duplicate_key" and earlier_id is not None:
        changed = {**row, "CustomerId": str(earlier_id)}
        return Spoiled(kind=kind, rule="unique_key", values=changed)
    if kind not in _CHANGES:
        broken = _BROKEN[turn % len(_BROKEN)]
        return Spoiled(kind="malformed_line", rule="malformed_line", values=row, broken=broken)
    column, text = _CHANGES[kind][turn % len(_CHANGES[kind])]
    return Spoiled(kind=kind, rule=f"{column}.{_RULES[kind]}", values={**row, column: text})


def broken_line(spoiled: Spoiled, columns: Sequence[str]) -> bytes:
    """The line of a bad row as it is in the file."""
    fields = [spoiled.values[name].encode() for name in columns]
    if spoiled.broken == "too_few_fields":
        fields = fields[:-4]
    elif spoiled.broken == "too_many_fields":
        fields.append(b"1")
    elif spoiled.broken == "undecodable":
        fields[columns.index("Surname")] = b"M\xfcller"  # Latin-1 in a UTF-8 file
    return b",".join(fields) + b"\n"
