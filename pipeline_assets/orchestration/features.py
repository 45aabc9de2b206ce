"""features: engineered columns with their split; of a use case with `time`, with what came before them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import dagster as dg

from pipeline_assets.lake import StagedVersion, Version
from pipeline_assets.orchestration.assets import code_version, featured_asset, stage_asset
from pipeline_assets.orchestration.each_partition import Event, Events, each_partition
from pipeline_assets.orchestration.metadata import column_lineage, preview
from pipeline_assets.orchestration.partitions import data_options, partition_with_history
from pipeline_assets.orchestration.resources import Engine, Platform
from pipeline_assets.orchestration.stage import StageRun
from pipeline_assets.spec import UseCase
from pipeline_assets.spec.partitions import history_partitions

if TYPE_CHECKING:
    from pipeline_assets.features.compute import FeatureResult


def build_features(use_case: UseCase) -> dg.AssetsDefinition:
    """The `features` asset."""

    @stage_asset(
        use_case,
        "features",
        stage="features",
        kinds={"pyspark", "parquet"},
        deps=[
            partition_with_history(use_case, featured_asset(use_case), history_partitions(use_case))
        ],
        description="Engineered, unscaled features with label and split, one row per key.",
        code_version=code_version(
            use_case.features,
            use_case.split,
            use_case.split_seed,
            *use_case.contract.key,
            *_time_settings(use_case),
        ),
        **data_options(use_case),
    )
    def features(context: dg.AssetExecutionContext, platform: Platform, engine: Engine) -> Events:
        staged: dict[str, StagedVersion] = {}
        results: dict[str, FeatureResult] = {}

        def compute(runs: Sequence[StageRun]) -> None:
            staged.update({run.key: run.stage("features") for run in runs})
            results.update(_compute(engine, use_case, runs, staged))

        def publish(run: StageRun) -> Iterator[Event]:
            if run.key not in results:
                compute([run])
            result = results[run.key]
            run.seal(
                staged[run.key],
                files=result.files,
                rows=result.rows,
                schema=result.schema,
                metadata={
                    "split_rows": result.split_rows,
                    "label_rates": result.label_rates,
                    "column_lineage": result.lineage,
                    "infinite": result.infinite,
                },
            )
            version = run.publish(staged[run.key])
            yield run.result(
                version,
                {
                    **{f"rows_{split}": rows for split, rows in result.split_rows.items()},
                    **{f"label_rate_{split}": rate for split, rate in result.label_rates.items()},
                    "infinite_made_missing": result.infinite,
                    "dagster/column_lineage": column_lineage(
                        use_case.name, featured_asset(use_case), result.lineage
                    ),
                    "preview": preview(version),
                },
            )

        yield from each_partition(
            context,
            platform,
            use_case,
            publish,
            inputs=_rows_with_history,
            together=compute,
        )

    return features


def _compute(
    engine: Engine,
    use_case: UseCase,
    runs: Sequence[StageRun],
    staged: Mapping[str, StagedVersion],
) -> Mapping[str, "FeatureResult"]:
    """Partition to its features, computed in one pass."""
    from pipeline_assets.features.compute import compute_features
    from pipeline_assets.features.partitions import compute_partition_features

    versions: dict[str, Version] = {}
    for run in runs:
        versions |= _rows_with_history(run)
    if use_case.time is None:
        ((key, validated),) = versions.items()
        return {key: compute_features(engine.session, validated, use_case, staged[key])}
    return compute_partition_features(
        engine.session, [run.key for run in runs], versions, use_case, lambda key: staged[key]
    )


def _rows_with_history(run: StageRun) -> dict[str, Version]:
    """The validated, or joined, versions that the features of a partition are made from, by partition."""
    asset, count = featured_asset(run.use_case), history_partitions(run.use_case)
    return {**run.history(asset, count), run.key: run.require(asset)}


def _time_settings(use_case: UseCase) -> list[str]:
    """What of the `time` block shapes the features."""
    time = use_case.time
    if time is None:
        return []
    return [time.column, time.timezone, time.partition, str(time.label_delay)]
