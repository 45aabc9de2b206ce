"""feature_statistics: one pass of statistics over the training rows."""

from collections.abc import Iterator

import dagster as dg

from pipeline_assets.orchestration.assets import code_version, stage_asset
from pipeline_assets.orchestration.failures import require_gate
from pipeline_assets.orchestration.metadata import picture
from pipeline_assets.orchestration.resources import Engine, Platform
from pipeline_assets.orchestration.stage import StageRun, stage_run
from pipeline_assets.orchestration.training_sets import (
    ALL,
    model_code,
    model_key,
    model_options,
    read_parts,
    training_set_dep,
)
from pipeline_assets.spec import UseCase
from pipeline_assets.statistics.model import FeatureStatistics

SPLITS_ARE_DISJOINT = "no_key_in_two_splits"
NO_SUSPICIOUS_FEATURE = "no_suspicious_feature"
SPLIT_BY_TIME = "split_by_time"
RANDOM_SPLIT = (
    "partitions are dealt to train, validation and test at random: the model is tested on days before "
    "some that it was trained on, and every figure is too good. Declare a time_split"
)

KEYS_COME_AGAIN = (
    ": the same keys occur again after time.unique_lookback; lengthen it, then validate the partitions "
    "and make their features again"
)


def build_feature_statistics(use_case: UseCase) -> dg.AssetsDefinition:
    """The `feature_statistics` asset: for the model's preprocessor, the drift reference and the UI."""
    key = dg.AssetKey([use_case.name, "feature_statistics"])

    @stage_asset(
        use_case,
        "feature_statistics",
        stage="features",
        kinds={"pyspark"},
        deps=[training_set_dep(use_case, "features", ALL)],
        description="Statistics of the training rows: preprocessing, drift reference and profile.",
        code_version=code_version(
            use_case.features,
            use_case.model.max_vocabulary,
            str(use_case.split.train),
            *model_code(use_case),
        ),
        check_specs=[
            dg.AssetCheckSpec(SPLITS_ARE_DISJOINT, asset=key, blocking=True),
            dg.AssetCheckSpec(
                NO_SUSPICIOUS_FEATURE,
                asset=key,
                description="A feature that separates the classes almost alone is likely a leak.",
            ),
            *([dg.AssetCheckSpec(SPLIT_BY_TIME, asset=key)] if leaks_the_future(use_case) else []),
        ],
        **model_options(use_case),
    )
    def feature_statistics(
        context: dg.AssetExecutionContext, platform: Platform, engine: Engine
    ) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult]:
        from pipeline_assets.statistics.leakage import suspicious_features
        from pipeline_assets.statistics.plots import statistics_plots
        from pipeline_assets.statistics.table import statistics_table

        with stage_run(context, platform, use_case, model_key(context, use_case)) as run:
            statistics = _statistics(run, engine)
            staged = run.stage("feature_statistics")
            staged.write_json("statistics.json", statistics.to_dict())
            plots = statistics_plots(statistics)
            for name, png in plots.items():
                staged.write_bytes(f"plots/{name}.png", png)
            run.seal(
                staged,
                rows=len(statistics.numeric) + len(statistics.categorical),
                metadata={"training_rows": statistics.rows["train"]},
            )
            repeated = statistics.split_overlaps > 0 or statistics.repeated_row_ids > 0
            disjoint = dg.AssetCheckResult(
                asset_key=key,
                check_name=SPLITS_ARE_DISJOINT,
                passed=not repeated,
                description=f"{statistics.split_overlaps:,} keys in two splits, "
                f"{statistics.repeated_row_ids:,} repeated"
                + (KEYS_COME_AGAIN if repeated and use_case.time is not None else ""),
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
            if leaks_the_future(use_case):
                context.log.warning(RANDOM_SPLIT)
                yield dg.AssetCheckResult(
                    asset_key=key,
                    check_name=SPLIT_BY_TIME,
                    passed=False,
                    severity=dg.AssetCheckSeverity.WARN,
                    description=RANDOM_SPLIT,
                )
            yield run.result(
                version,
                {
                    **({"warning": RANDOM_SPLIT} if leaks_the_future(use_case) else {}),
                    "training_rows": statistics.rows["train"],
                    "statistics": dg.MetadataValue.md(statistics_table(statistics)),
                    **{name: picture(png, name) for name, png in plots.items()},
                },
            )

    return feature_statistics


def leaks_the_future(use_case: UseCase) -> bool:
    """Whether events have a time and the split does not go by it."""
    return use_case.time is not None and use_case.time_split is None


def _statistics(run: StageRun, engine: Engine) -> FeatureStatistics:
    from pipeline_assets.statistics.compute import (
        compute_statistics,
        compute_training_set_statistics,
    )

    use_case = run.use_case
    if use_case.time is None:
        return compute_statistics(engine.session, run.require("features"), use_case)
    parts = read_parts(run, "features", ALL)
    return compute_training_set_statistics(engine.session, parts.by_role, use_case)
