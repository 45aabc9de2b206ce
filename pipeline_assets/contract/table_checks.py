"""Checks of the table as a whole, from the numbers of a validating pass. Nothing is read here."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pipeline_assets.contract.results import TableCheck, ValidationResult
from pipeline_assets.spec.contract import Contract


def table_check_names(contract: Contract) -> list[str]:
    """Names of the checks that `check_table` may return for this contract, in its order."""
    rules = contract.table
    return [
        "conservation",
        "min_rows",
        "rejected_share",
        *(["max_rows"] if rules.max_rows is not None else []),
        *(f"{name}.null_share" for name in rules.max_null_share),
        *(["freshness"] if rules.freshness_hours is not None else []),
    ]


def check_table(
    result: ValidationResult,
    contract: Contract,
    source_files: Sequence[Any],
    *,
    now: datetime | None = None,
) -> list[TableCheck]:
    """Judge row counts, shares and freshness.

    Args:
        result: the validating pass.
        contract: whose `table` rules apply.
        source_files: what was read: objects or mappings with `modified`, ISO 8601 (UTC without
            zone). Without any, freshness is not judged.
        now: the present moment, for tests.

    Returns:
        `conservation`, `min_rows`, `rejected_share`, and where declared `max_rows`,
        `<column>.null_share` and `freshness` (severity warn).
    """
    rules = contract.table
    written = result.rows_validated + result.rows_rejected
    checks = [
        TableCheck(
            name="conservation",
            severity="error",
            passed=written == result.rows_raw,
            value=written,
            limit=result.rows_raw,
            description=f"{result.rows_validated} validated + {result.rows_rejected} rejected rows "
            f"of {result.rows_raw} raw rows",
        ),
        TableCheck(
            name="min_rows",
            severity="error",
            passed=result.rows_validated >= rules.min_rows,
            value=result.rows_validated,
            limit=rules.min_rows,
            description=f"{result.rows_validated} validated rows, at least {rules.min_rows} wanted",
        ),
        TableCheck(
            name="rejected_share",
            severity="error",
            passed=result.rejected_share <= rules.max_rejected_share,
            value=result.rejected_share,
            limit=rules.max_rejected_share,
            description=f"{result.rejected_share:.2%} of the rows rejected, "
            f"at most {rules.max_rejected_share:.2%} allowed{_main_reasons(result)}",
        ),
    ]
    if rules.max_rows is not None:
        checks.append(
            TableCheck(
                name="max_rows",
                severity="error",
                passed=result.rows_validated <= rules.max_rows,
                value=result.rows_validated,
                limit=rules.max_rows,
                description=f"{result.rows_validated} validated rows, "
                f"at most {rules.max_rows} wanted",
            )
        )
    for name, limit in rules.max_null_share.items():
        share = result.null_shares[name]
        checks.append(
            TableCheck(
                name=f"{name}.null_share",
                severity="error",
                passed=share <= limit,
                value=share,
                limit=limit,
                description=f"{share:.2%} of {name} missing, at most {limit:.2%} allowed",
            )
        )
    if rules.freshness_hours is not None and source_files:
        checks.append(_freshness(rules.freshness_hours, source_files, now or datetime.now(UTC)))
    return checks


def _main_reasons(result: ValidationResult) -> str:
    """The three most broken rules, so that a stopped run says why in one line."""
    rejecting = [
        (count, rule)
        for rule, count in result.violations.items()
        if count and result.severities[rule] == "error"
    ]
    top = sorted(rejecting, key=lambda item: (-item[0], item[1]))[:3]
    return f" (mostly {', '.join(f'{rule}: {count}' for count, rule in top)})" if top else ""


def _freshness(limit: float, source_files: Sequence[Any], now: datetime) -> TableCheck:
    newest = max(_modified(file) for file in source_files)
    hours = round(max((now - newest).total_seconds(), 0.0) / 3600, 3)
    return TableCheck(
        name="freshness",
        severity="warn",
        passed=hours <= limit,
        value=hours,
        limit=limit,
        description=f"the newest source file is {hours:.1f} hours old, at most {limit:g} wanted",
    )


def _modified(file: Any) -> datetime:
    text = file["modified"] if isinstance(file, Mapping) else file.modified
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
