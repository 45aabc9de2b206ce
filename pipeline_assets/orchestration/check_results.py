"""Check results of several partitions as one, and as part of a version's manifest."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import dagster as dg

from pipeline_assets.lake import Version
from pipeline_assets.orchestration.metadata import markdown_table

TABLE_ROWS = 50
"""Partitions in a check's table, those that failed first."""
NAMED = 5
"""Failed partitions named in a check's description."""


def recorded_checks(checks: Iterable[dg.AssetCheckResult]) -> list[dict[str, Any]]:
    """Check results for the manifest of the version that they judge."""
    return [
        {
            "asset_key": None if check.asset_key is None else list(check.asset_key.path),
            "check_name": check.check_name,
            "passed": check.passed,
            "severity": check.severity.value,
            "description": check.description,
        }
        for check in checks
    ]


def restored_checks(version: Version) -> list[dg.AssetCheckResult]:
    """The check results that a version was published with."""
    return [
        dg.AssetCheckResult(**{**check, "severity": dg.AssetCheckSeverity(check["severity"])})
        for check in version.manifest.metadata.get("checks", [])
    ]


def over_partitions(
    checks: Mapping[str, Sequence[dg.AssetCheckResult]],
) -> Iterator[dg.AssetCheckResult]:
    """One result for each check: it passed where it passed for all partitions, else the worst counts."""
    by_check: dict[tuple[Any, Any], dict[str, dg.AssetCheckResult]] = {}
    for partition, results in checks.items():
        for result in results:
            by_check.setdefault((result.asset_key, result.check_name), {})[partition] = result
    for (asset_key, name), results in by_check.items():
        failed = {partition: result for partition, result in results.items() if not result.passed}
        errors = [r for r in failed.values() if r.severity == dg.AssetCheckSeverity.ERROR]
        ordered = {**failed, **results}
        rows = [
            [partition, "passed" if result.passed else "failed", result.description]
            for partition, result in list(ordered.items())[:TABLE_ROWS]
        ]
        first = next(iter(ordered.values()))
        named = ", ".join(list(failed)[:NAMED]) + (", …" if len(failed) > NAMED else "")
        yield dg.AssetCheckResult(
            asset_key=asset_key,
            check_name=name,
            passed=not failed,
            severity=errors[0].severity if errors else first.severity,
            description=f"failed for {len(failed)} of {len(results)} partitions: {named}"
            if failed
            else f"passed for {len(results)} partitions",
            metadata={
                "partitions": len(results),
                "partitions_failed": len(failed),
                "by_partition": dg.MetadataValue.md(
                    markdown_table(["partition", "result", "description"], rows)
                ),
            },
        )
