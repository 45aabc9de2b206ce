"""The data contract: types and rules of every column, row rules and table rules, written once."""

from typing import Any, Literal

from pydantic import ConfigDict, Field, model_validator

from pipeline_assets.spec.model_base import SpecModel
from pipeline_assets.spec.problems import WrongKey

ColumnType = Literal[
    "string", "int32", "int64", "float32", "float64", "boolean", "date", "timestamp"
]
Severity = Literal["error", "warn"]


class Column(SpecModel):
    """One column: its type, and the rules that each of its values must satisfy.

    A rule of severity `error` sends the row to `rejected`; one of severity `warn` only counts.
    NaN counts as missing; infinities break the rule `finite`.
    """

    # Bounds are judged with the type of the column, see `contract.semantics`.
    model_config = ConfigDict(allow_inf_nan=True)

    name: str = Field(min_length=1)
    """Name in the validated table."""
    type: ColumnType
    """Logical type. A value that cannot be cast breaks the rule `type`."""
    description: str = ""
    """Shown in the UI's column schema."""
    nullable: bool = False
    """Missing values are allowed."""
    min: int | float | str | None = None
    """Smallest allowed value, inclusive (ISO text for dates and timestamps)."""
    max: int | float | str | None = None
    """Largest allowed value, inclusive."""
    allowed: list[Any] | None = None
    """The only values allowed."""
    pattern: str | None = None
    """Regular expression that the whole text must match (syntax common to Java, Rust and Python)."""
    max_length: int | None = Field(default=None, ge=1)
    """Longest allowed text, in characters."""
    severity: Severity = "error"
    """Severity of all rules of this column."""
    severities: dict[
        Literal["type", "nullable", "finite", "range", "allowed", "pattern", "max_length"], Severity
    ] = {}
    """Severity of single rules, where it differs. `type` and `finite` of severity warn turn the value into null."""


class RowRule(SpecModel):
    """A SQL expression over validated columns that must be true (null counts as true) for a row."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    """Name of the rule, in lower case."""
    expression: str
    """SQL in the subset that Spark and Sail share."""
    description: str = ""
    """What it means to the business."""
    severity: Severity = "error"
    """`error` rejects the row, `warn` only counts."""


class TableRules(SpecModel):
    """Rules on the table as a whole, checked before a version is published."""

    min_rows: int = Field(default=1, ge=0)
    """Fewest validated rows."""
    max_rows: int | None = Field(default=None, ge=1)
    """Most validated rows."""
    max_rejected_share: float = Field(default=0.05, ge=0, le=1)
    """Above this share of rejected rows the version is not published."""
    max_null_share: dict[str, float] = {}
    """Column to the largest allowed share of missing values among validated rows."""
    freshness_hours: float | None = Field(default=None, gt=0)
    """The newest source file may be at most this old, in hours (severity warn)."""


class Contract(SpecModel):
    """Everything that a validated row and table satisfy."""

    key: list[str] = Field(min_length=1)
    """Columns that together identify a row: neither missing nor repeated. Of rows that share a key
    the first in source order stays, the others break the rule `unique_key`."""
    columns: list[Column] = Field(min_length=1)
    """The columns, in the order of the validated table."""
    rows: list[RowRule] = []
    """Row rules."""
    table: TableRules = TableRules()
    """Table rules."""

    def column(self, name: str) -> Column:
        """Return the column of that name. Raises `KeyError` for an unknown one."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)

    @property
    def names(self) -> list[str]:
        """Column names in order."""
        return [column.name for column in self.columns]

    @model_validator(mode="after")
    def _no_repeats(self) -> "Contract":
        names = self.names
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            last = len(names) - 1 - names[::-1].index(repeated[0])
            raise WrongKey(
                *("columns", last, "name"),
                message=f"columns declared more than once: {', '.join(repeated)}",
            )
        return self
