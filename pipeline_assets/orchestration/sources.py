"""The `sources` of a use case: raw, validated and rejected rows of each, and joined, the events with their columns.

A source has no partitions: whatever is joined to the events of any partition is stale once the source
has a new version.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import dagster as dg

from pipeline_assets.lake import StagedVersion
from pipeline_assets.orchestration.assets import asset_options, code_version
from pipeline_assets.orchestration.each_partition import Event, Events, each_partition
from pipeline_assets.orchestration.failures import require_gate
from pipeline_assets.orchestration.metadata import preview
from pipeline_assets.orchestration.partitions import data_options, same_partition
from pipeline_assets.orchestration.raw import build_raw
from pipeline_assets.orchestration.resources import Engine, Platform
from pipeline_assets.orchestration.stage import StageRun
from pipeline_assets.orchestration.validated import build_validated
from pipeline_assets.spec import UseCase
from pipeline_assets.spec.joined import joined_name
from pipeline_assets.spec.partitions import naive_timezone

if TYPE_CHECKING:
    from pipeline_assets.joining.results import JoinResult

NOTHING_LOST = "conservation"


def build_sources(use_case: UseCase) -> list[dg.AssetsDefinition]:
    """All assets that exist because of `sources`; none without."""
    assets = []
    for name, source in use_case.sources.items():
        alone = use_case.model_copy(
            update={
                "source": source.source,
                "contract": source.contract,
                "sources": {},
                "time": None,
            }
        )
        zone = naive_timezone(use_case)
        assets += [
            build_raw(alone, f"{name}_", zone),
            build_validated(alone, f"{name}_", zone),
        ]
    return [*assets, _build_joined(use_case)] if assets else []


def _build_joined(use_case: UseCase) -> dg.AssetsDefinition:
    """The `joined` and `unmatched` assets, with a check of each source and of their rows together."""
    key = dg.AssetKey([use_case.name, "joined"])
    deps = [
        same_partition(use_case, "validated"),
        *([use_case.name, f"{name}_validated"] for name in use_case.sources),
    ]

    @dg.multi_asset(
        name=f"{use_case.name}__joined",
        specs=[
            dg.AssetSpec(
                [use_case.name, asset],
                deps=deps,
                description=text,
                code_version=code_version(*_settings(use_case)),
                **asset_options(use_case, "joined", {"pyspark", "parquet"}),
            )
            for asset, text in (
                ("joined", "Validated events with the columns of " + ", ".join(use_case.sources)),
                ("unmatched", "Events taken out, because a source that must have a row has none."),
            )
        ],
        check_specs=[
            *(
                dg.AssetCheckSpec(
                    _check_of(name),
                    asset=key,
                    description=f"Every event has a row in {name}; one without is handled by its "
                    f"rule, {source.unmatched}.",
                )
                for name, source in use_case.sources.items()
            ),
            dg.AssetCheckSpec(
                NOTHING_LOST, asset=key, blocking=True, description="validated = joined + unmatched"
            ),
        ],
        **data_options(use_case),
    )
    def joined(context: dg.AssetExecutionContext, platform: Platform, engine: Engine) -> Events:
        from pipeline_assets.joining.join import join_sources

        staged: dict[str, tuple[StagedVersion, StagedVersion]] = {}
        results: dict[str, JoinResult] = {}

        def inputs(run: StageRun) -> None:
            run.require("validated")
            for name in use_case.sources:
                run.require(f"{name}_validated", whole=True)

        def compute(runs: Sequence[StageRun]) -> None:
            events = {run.key: run.require("validated") for run in runs}
            sources = {
                name: run.require(f"{name}_validated", whole=True)
                for run in runs
                for name in use_case.sources
            }
            staged.update({run.key: (run.stage("joined"), run.stage("unmatched")) for run in runs})
            results.update(
                join_sources(engine.session, events, sources, use_case, lambda key: staged[key])
            )

        def publish(run: StageRun) -> Iterator[Event]:
            if run.key not in results:
                compute([run])
            result, (good, out) = results[run.key], staged[run.key]
            checks = list(_checks(use_case, key, result))
            shared = {"unmatched": result.unmatched, "samples": result.samples}
            run.seal(
                out,
                files=result.unmatched_files,
                rows=result.rows_unmatched,
                schema=result.unmatched_schema,
                metadata=shared,
            )
            run.seal(
                good,
                files=result.joined_files,
                rows=result.rows_joined,
                schema=result.joined_schema,
                metadata=shared,
                checks=checks,
            )
            yield from checks
            require_gate(checks, {NOTHING_LOST})
            taken_out, version = run.publish(out), run.publish(good)
            yield run.result(taken_out, {"preview": preview(taken_out)})
            yield run.result(
                version,
                {
                    **{f"without_{name}": count for name, count in result.unmatched.items()},
                    "unmatched_rows": result.rows_unmatched,
                    "dagster/column_lineage": _lineage(use_case),
                    "preview": preview(version),
                },
            )

        yield from each_partition(
            context, platform, use_case, publish, inputs=inputs, together=compute
        )

    return joined


def _checks(
    use_case: UseCase, key: dg.AssetKey, result: "JoinResult"
) -> Iterator[dg.AssetCheckResult]:
    for name, count in result.unmatched.items():
        rule = use_case.sources[name].unmatched
        outcome = "taken out" if rule == "reject" else "kept with missing values"
        yield dg.AssetCheckResult(
            asset_key=key,
            check_name=_check_of(name),
            passed=count == 0,
            severity=dg.AssetCheckSeverity.WARN,
            description=f"{count:,} of {result.rows_events:,} events have no row in {name} ({outcome})",
            metadata={"rows": count, "samples": dg.MetadataValue.json(result.samples[name])},
        )
    yield dg.AssetCheckResult(
        asset_key=key,
        check_name=NOTHING_LOST,
        passed=result.conserved,
        description=f"{result.rows_events:,} validated = {result.rows_joined:,} joined "
        f"+ {result.rows_unmatched:,} unmatched",
    )


def _check_of(name: str) -> str:
    return f"{name}_matched"


def _settings(use_case: UseCase) -> list[str]:
    """What of the use case shapes the joined rows, beside the rows that they are made of."""
    time = [] if use_case.time is None else [use_case.time.column, use_case.time.timezone]
    return [
        *time,
        *use_case.contract.names,
        *(
            f"{name} {source.join} {source.valid_from} {source.unmatched} {source.contract.names}"
            for name, source in use_case.sources.items()
        ),
    ]


def _lineage(use_case: UseCase) -> dg.TableColumnLineage:
    """Each joined column and the column that it is, of the events or of a source."""
    own = {
        column: [dg.TableColumnDep(dg.AssetKey([use_case.name, "validated"]), column)]
        for column in use_case.contract.names
    }
    theirs = {
        joined_name(name, column.name): [
            dg.TableColumnDep(dg.AssetKey([use_case.name, f"{name}_validated"]), column.name)
        ]
        for name, source in use_case.sources.items()
        for column in source.columns
    }
    return dg.TableColumnLineage({**own, **theirs})
