"""features: engineered columns with their split."""

import dagster as dg

from pipeline_assets.orchestration.assets import code_version, stage_asset
from pipeline_assets.orchestration.metadata import column_lineage, preview
from pipeline_assets.orchestration.resources import Engine, Platform
from pipeline_assets.orchestration.stage import stage_run
from pipeline_assets.spec import UseCase


def build_features(use_case: UseCase) -> dg.AssetsDefinition:
    """The `features` asset."""

    @stage_asset(
        use_case,
        "features",
        stage="features",
        kinds={"pyspark", "parquet"},
        deps=["validated"],
        description="Engineered, unscaled features with label and split, one row per key.",
        code_version=code_version(
            use_case.features, use_case.split, use_case.split_seed, *use_case.contract.key
        ),
    )
    def features(
        context: dg.AssetExecutionContext, platform: Platform, engine: Engine
    ) -> dg.MaterializeResult:
        from pipeline_assets.features.compute import compute_features

        with stage_run(context, platform, use_case) as run:
            validated = run.require("validated")
            staged = run.stage("features")
            result = compute_features(engine.session, validated, use_case, staged)
            run.seal(
                staged,
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
            version = run.publish(staged)
            return run.result(
                version,
                {
                    **{f"rows_{split}": rows for split, rows in result.split_rows.items()},
                    **{f"label_rate_{split}": rate for split, rate in result.label_rates.items()},
                    "infinite_made_missing": result.infinite,
                    "dagster/column_lineage": column_lineage(
                        use_case.name, "validated", result.lineage
                    ),
                    "preview": preview(version),
                },
            )

    return features
