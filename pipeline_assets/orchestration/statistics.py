"""feature_statistics: one pass of statistics over the training rows."""

from collections.abc import Iterator

import dagster as dg

from pipeline_assets.orchestration.assets import code_version, stage_asset
from pipeline_assets.orchestration.failures import require_gate
from pipeline_assets.orchestration.metadata import picture
from pipeline_assets.orchestration.resources import Engine, Platform
from pipeline_assets.orchestration.stage import stage_run
from pipeline_assets.spec import UseCase

SPLITS_ARE_DISJOINT = "no_key_in_two_splits"
NO_SUSPICIOUS_FEATURE = "no_suspicious_feature"


def build_feature_statistics(use_case: UseCase) -> dg.AssetsDefinition:
    """The `feature_statistics` asset: for the model's preprocessor, the drift reference and the UI."""
    key = dg.AssetKey([use_case.name, "feature_statistics"])

    @stage_asset(
        use_case,
        "feature_statistics",
        stage="features",
        kinds={"pyspark"},
        deps=["features"],
        description="Statistics of the training rows: preprocessing, drift reference and profile.",
        code_version=code_version(
            use_case.features, use_case.model.max_vocabulary, str(use_case.split.train)
        ),
        check_specs=[
            dg.AssetCheckSpec(SPLITS_ARE_DISJOINT, asset=key, blocking=True),
            dg.AssetCheckSpec(
                NO_SUSPICIOUS_FEATURE,
                asset=key,
                description="A feature that separates the classes almost alone is likely a leak.",
            ),
        ],
    )
    def feature_statistics(
        context: dg.AssetExecutionContext, platform: Platform, engine: Engine
    ) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult]:
        from pipeline_assets.statistics.compute import compute_statistics
        from pipeline_assets.statistics.leakage import suspicious_features
        from pipeline_assets.statistics.plots import statistics_plots
        from pipeline_assets.statistics.table import statistics_table

        with stage_run(context, platform, use_case) as run:
            features = run.require("features")
            staged = run.stage("feature_statistics")
            statistics = compute_statistics(engine.session, features, use_case)
            staged.write_json("statistics.json", statistics.to_dict())
            plots = statistics_plots(statistics)
            for name, png in plots.items():
                staged.write_bytes(f"plots/{name}.png", png)
            run.seal(
                staged,
                rows=len(use_case.features.columns),
                metadata={"training_rows": statistics.rows["train"]},
            )
            disjoint = dg.AssetCheckResult(
                asset_key=key,
                check_name=SPLITS_ARE_DISJOINT,
                passed=statistics.split_overlaps == 0 and statistics.repeated_row_ids == 0,
                description=f"{statistics.split_overlaps:,} keys in two splits, "
                f"{statistics.repeated_row_ids:,} repeated",
            )
            yield disjoint
            require_gate([disjoint], {SPLITS_ARE_DISJOINT})
            version = run.publish(staged)
            suspicious = suspicious_features(statistics, use_case.features.suspicious_auc)
            yield dg.AssetCheckResult(
                asset_key=key,
                check_name=NO_SUSPICIOUS_FEATURE,
                passed=not suspicious,
                severity=dg.AssetCheckSeverity.WARN,
                description=f"likely leaks: {', '.join(suspicious)}" if suspicious else "none",
                metadata={
                    "single_feature_auc": dg.MetadataValue.json(statistics.single_feature_auc)
                },
            )
            yield run.result(
                version,
                {
                    "training_rows": statistics.rows["train"],
                    "statistics": dg.MetadataValue.md(statistics_table(statistics)),
                    **{name: picture(png, name) for name, png in plots.items()},
                },
            )

    return feature_statistics
