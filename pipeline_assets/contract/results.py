"""What validation found, as plain frozen values. How it was found is in `validation`."""

from dataclasses import asdict, dataclass
from typing import Any

from pipeline_assets.lake.manifest import FileEntry
from pipeline_assets.spec.contract import Severity


class ContractError(Exception):
    """A contract that cannot be applied to a table; the message says which part and what to do."""


@dataclass(frozen=True, kw_only=True)
class TableCheck:
    """One check of the table as a whole."""

    name: str
    """`conservation`, `min_rows`, `max_rows`, `rejected_share`, `<column>.null_share`,
    `freshness`."""
    severity: Severity
    """Whether a failure blocks (`error`) or only warns."""
    passed: bool
    """The verdict."""
    value: float
    """What was found (rows, share, or hours)."""
    limit: float
    """What was allowed, in the same unit."""
    description: str
    """The verdict as a sentence."""


@dataclass(frozen=True, kw_only=True)
class ValidationResult:
    """Outcome of one validating pass."""

    rows_raw: int
    """Rows of the raw version by its manifest, parsed and malformed ones together."""
    rows_validated: int
    """Rows in the validated files, by their Parquet footers."""
    rows_rejected: int
    """Rows in the rejected files, by their Parquet footers."""
    violations: dict[str, int]
    """Rule to the number of rows that broke it, 0 included. A row counts for each rule it broke."""
    severities: dict[str, Severity]
    """Rule to its severity."""
    samples: dict[str, list[dict[str, Any]]]
    """Rule to its first five violations in source order: `_source_file`, `_source_line`, values."""
    null_shares: dict[str, float]
    """Contract column to its share of missing values among validated rows; 0 for no rows."""
    table_checks: list[TableCheck]
    """Checks of the table as a whole."""
    validated_files: list[FileEntry]
    """Files written to the validated version."""
    rejected_files: list[FileEntry]
    """Files written to the rejected version."""
    validated_schema: list[tuple[str, str]]
    """Column and Spark type of the validated rows."""
    rejected_schema: list[tuple[str, str]]
    """Column and Spark type of the rejected rows."""

    @property
    def rejected_share(self) -> float:
        """Rejected rows as a share of all rows; 0 for no rows."""
        return self.rows_rejected / self.rows_raw if self.rows_raw else 0.0

    @property
    def passed(self) -> bool:
        """No table check of severity `error` failed: the versions may be published."""
        return all(check.passed or check.severity == "warn" for check in self.table_checks)

    def to_metadata(self) -> dict[str, Any]:
        """JSON-safe facts for the manifest: counts, samples, null shares and table checks."""
        return {
            "rows_raw": self.rows_raw,
            "rows_validated": self.rows_validated,
            "rows_rejected": self.rows_rejected,
            "violations": self.violations,
            "severities": self.severities,
            "samples": self.samples,
            "null_shares": self.null_shares,
            "table_checks": [asdict(check) for check in self.table_checks],
        }
