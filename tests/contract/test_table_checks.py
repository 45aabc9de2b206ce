"""Table checks from the numbers of a pass."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from pipeline_assets.contract.results import ValidationResult
from pipeline_assets.contract.table_checks import check_table
from pipeline_assets.spec.contract import Column, Contract, TableRules

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
RESULT = ValidationResult(
    rows_raw=100,
    rows_validated=90,
    rows_rejected=10,
    violations={"a.range": 7, "a.type": 3, "a.pattern": 50},
    severities={"a.range": "error", "a.type": "error", "a.pattern": "warn"},
    samples={},
    null_shares={"a": 0.2},
    table_checks=[],
    validated_files=[],
    rejected_files=[],
    validated_schema=[],
    rejected_schema=[],
)


@dataclass
class File:
    modified: str


def judged(result=RESULT, files=(), **table):
    contract = Contract(
        key=["a"], columns=[Column(name="a", type="int64")], table=TableRules(**table)
    )
    return {check.name: check for check in check_table(result, contract, files, now=NOW)}


def test_limits_are_inclusive():
    checks = judged(min_rows=90, max_rows=90, max_rejected_share=0.1, max_null_share={"a": 0.2})
    assert all(check.passed for check in checks.values())
    checks = judged(min_rows=91, max_rows=89, max_rejected_share=0.09, max_null_share={"a": 0.1})
    assert [name for name, check in checks.items() if check.passed] == ["conservation"]
    assert "a.range: 7, a.type: 3)" in checks["rejected_share"].description


def test_a_lost_row_fails_conservation():
    check = judged(replace(RESULT, rows_rejected=9))["conservation"]
    assert (check.passed, check.severity, check.value, check.limit) == (False, "error", 99, 100)


def test_freshness_warns_by_the_newest_file():
    files = [File("2026-03-01T12:00:00+00:00"), {"modified": "2026-03-02T06:00:00"}]
    check = judged(files=files, freshness_hours=6)["freshness"]
    assert (check.passed, check.value, check.severity) == (True, 6.0, "warn")
    assert not judged(files=files, freshness_hours=5)["freshness"].passed
    assert judged(files=[File("2026-03-03T00:00:00Z")], freshness_hours=1)["freshness"].value == 0
    assert "freshness" not in judged(freshness_hours=5)
