"""validated and rejected: one pass over raw; the gate is asked before either is published."""

from collections.abc import Iterator

import dagster as dg

from pipeline_assets.contract.partition_rule import IN_PARTITION, partition_contract
from pipeline_assets.contract.results import TableCheck, ValidationResult
from pipeline_assets.contract.rules import rules_of
from pipeline_assets.contract.table_checks import table_check_names
from pipeline_assets.lake import Version
from pipeline_assets.orchestration.assets import asset_options, code_version
from pipeline_assets.orchestration.each_partition import Event, Events, each_partition
from pipeline_assets.orchestration.failures import require_gate
from pipeline_assets.orchestration.metadata import (
    check_name,
    column_lineage,
    markdown_table,
    preview,
)
from pipeline_assets.orchestration.partitions import data_options, partition_with_history
from pipeline_assets.orchestration.resources import Engine, Platform
from pipeline_assets.orchestration.stage import StageRun
from pipeline_assets.spec import Contract, UseCase
from pipeline_assets.spec.partitions import lookback_partitions, naive_timezone


def build_validated(
    use_case: UseCase, prefix: str = "", timezone: str | None = None
) -> dg.AssetsDefinition:
    """The `validated` and `rejected` assets with a check per rule of the contract.

    Args:
        use_case: whose contract judges.
        prefix: of the assets' names, and of that of `raw`.
        timezone: as of `build_raw`.
    """
    zone = timezone or naive_timezone(use_case)
    key = dg.AssetKey([use_case.name, f"{prefix}validated"])
    contract = partition_contract(use_case)
    table_checks = table_check_names(contract)
    blocking = {check_name(name) for name in table_checks if name != "freshness"}
    names = [check_name(rule.name) for rule in rules_of(contract)]
    names += [check_name(name) for name in table_checks]

    @dg.multi_asset(
        name=f"{use_case.name}__{prefix}validated",
        specs=[
            dg.AssetSpec(
                [use_case.name, f"{prefix}{asset}"],
                deps=[
                    partition_with_history(use_case, f"{prefix}raw", lookback_partitions(use_case))
                ],
                description=text,
                code_version=code_version(
                    contract,
                    *_time_settings(use_case),
                    *([] if timezone is None else [timezone]),
                ),
                **asset_options(use_case, "validated", {"pyspark", "pandera"}),
            )
            for asset, text in (
                ("validated", "Rows of raw that satisfy the contract, typed."),
                (
                    "rejected",
                    "Rows of raw that break it, as they were, with every rule they broke.",
                ),
            )
        ],
        check_specs=[
            dg.AssetCheckSpec(
                name,
                asset=key,
                blocking=name in blocking,
                description=_description(contract, name),
            )
            for name in dict.fromkeys(names)
        ],
        **data_options(use_case, of_joined=bool(prefix)),
    )
    def validated(context: dg.AssetExecutionContext, platform: Platform, engine: Engine) -> Events:
        from pipeline_assets.contract.earlier import EarlierRaw
        from pipeline_assets.contract.validation import validate

        def inputs(run: StageRun) -> tuple[Version, dict[str, Version]]:
            """The raw version of the partition, and those whose keys its rows must not repeat."""
            raw = run.require(f"{prefix}raw")
            return raw, run.history(f"{prefix}raw", lookback_partitions(use_case))

        def validate_partition(run: StageRun) -> Iterator[Event]:
            raw, before = inputs(run)
            good, bad = run.stage(f"{prefix}validated"), run.stage(f"{prefix}rejected")
            result = validate(
                engine.session,
                raw,
                partition_contract(use_case, run.key),
                validated=good,
                rejected=bad,
                source_files=raw.manifest.metadata["source_files"],
                earlier=[
                    EarlierRaw(
                        partition=partition,
                        raw=version,
                        contract=partition_contract(use_case, partition),
                    )
                    for partition, version in before.items()
                ],
                timezone=zone,
            )
            checks = [*_rule_checks(key, result), *_table_checks(key, result.table_checks)]
            shared = {"validation": result.to_metadata()}
            run.seal(
                bad,
                files=result.rejected_files,
                rows=result.rows_rejected,
                schema=result.rejected_schema,
                metadata=shared,
            )
            run.seal(
                good,
                files=result.validated_files,
                rows=result.rows_validated,
                schema=result.validated_schema,
                metadata=shared,
                checks=checks,
            )
            yield from checks
            require_gate(checks, blocking)
            rejected_version = run.publish(bad)
            version = run.publish(good)
            rules_table = markdown_table(
                ["rule", "rows", "severity"],
                [
                    (rule, count, result.severities[rule])
                    for rule, count in sorted(result.violations.items(), key=lambda item: -item[1])
                    if count
                ],
            )
            yield run.result(
                rejected_version,
                {"rules": dg.MetadataValue.md(rules_table), "preview": preview(rejected_version)},
            )
            yield run.result(
                version,
                {
                    "rejected_rows": result.rows_rejected,
                    "rejected_share": result.rows_rejected / max(result.rows_raw, 1),
                    "rules": dg.MetadataValue.md(rules_table),
                    "dagster/column_lineage": column_lineage(
                        use_case.name,
                        f"{prefix}raw",
                        {name: [name] for name in use_case.contract.names},
                    ),
                    "preview": preview(version),
                },
            )

        yield from each_partition(
            context,
            platform,
            use_case,
            validate_partition,
            inputs=inputs,
        )

    return validated


def _time_settings(use_case: UseCase) -> list[str]:
    """What of the `time` block shapes the rows, beside the bounds of partitions."""
    time = use_case.time
    return [] if time is None else [time.timezone, str(time.unique_lookback)]


def _rule_checks(key: dg.AssetKey, result: ValidationResult) -> Iterator[dg.AssetCheckResult]:
    """One result per rule. Broken rows are in quarantine already, so a failure warns and does not stop."""
    for rule, severity in result.severities.items():
        count = result.violations.get(rule, 0)
        outcome = "rejected" if severity == "error" else "counted only"
        yield dg.AssetCheckResult(
            asset_key=key,
            check_name=check_name(rule),
            passed=count == 0,
            severity=dg.AssetCheckSeverity.WARN,
            description=f"{count:,} of {result.rows_raw:,} rows break it ({outcome})",
            metadata={
                "rows": count,
                "rule_severity": severity,
                "samples": dg.MetadataValue.json(result.samples.get(rule, [])),
            },
        )


def _table_checks(key: dg.AssetKey, checks: list[TableCheck]) -> Iterator[dg.AssetCheckResult]:
    for check in checks:
        yield dg.AssetCheckResult(
            asset_key=key,
            check_name=check_name(check.name),
            passed=check.passed,
            severity=dg.AssetCheckSeverity.ERROR
            if check.severity == "error"
            else dg.AssetCheckSeverity.WARN,
            description=check.description,
            metadata={"value": check.value, "limit": check.limit},
        )


def _description(contract: Contract, name: str) -> str:
    for rule in contract.rows:
        if rule.name == name == IN_PARTITION:
            return rule.description  # its bounds are another for every partition
        if rule.name == name:
            return f"{rule.description} ({rule.expression})".strip()
    return ""
