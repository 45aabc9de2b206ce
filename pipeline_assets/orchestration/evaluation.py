"""evaluation_report: metrics with intervals, baselines, slices and plots.

The gate is asked before publishing. Where models have training dates, the report of a refused one is published all
the same: a backtest of the accepted ones alone would be too good. The failed check and `model_version` keep the
model itself back.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import dagster as dg

from pipeline_assets.orchestration.assets import code_version, stage_asset
from pipeline_assets.orchestration.columns_along import columns_along
from pipeline_assets.orchestration.failures import require_gate
from pipeline_assets.orchestration.metadata import fixed, markdown_table, picture
from pipeline_assets.orchestration.model_run import model_run
from pipeline_assets.orchestration.stage import StageRun
from pipeline_assets.orchestration.tracking import tracking_key
from pipeline_assets.orchestration.training_sets import (
    ALL,
    combined_versions,
    model_code,
    model_options,
    training_set_dep,
    training_shards,
)
from pipeline_assets.spec import UseCase
from pipeline_assets.spec.credentials import without_credentials

if TYPE_CHECKING:
    from pipeline_assets.evaluation.baselines import Fitted
    from pipeline_assets.statistics.model import FeatureStatistics

GATE = "beats_minimum_and_baseline"
PERMUTED = "permuted_labels_give_chance"


def build_evaluation_report(use_case: UseCase) -> dg.AssetsDefinition:
    """The `evaluation_report` asset with its blocking gate."""
    key = dg.AssetKey([use_case.name, "evaluation_report"])

    @stage_asset(
        use_case,
        "evaluation_report",
        stage="evaluation",
        kinds={"xgboost", "scikitlearn"},
        deps=[
            "trained_model",
            "feature_statistics",
            training_set_dep(use_case, "tensor_shards", ALL),
            training_set_dep(use_case, "features", ALL),
        ],
        description="The model and its baselines on the untouched test split.",
        code_version=code_version(use_case.evaluation, use_case.seed, *model_code(use_case)),
        check_specs=[
            dg.AssetCheckSpec(GATE, asset=key, blocking=True),
            dg.AssetCheckSpec(
                PERMUTED,
                asset=key,
                blocking=True,
                description="A model trained on permuted labels must not predict: if it does, rows leak.",
            ),
        ],
        required_resource_keys={"platform", "engine", tracking_key(use_case)},
        **model_options(use_case),
    )
    def evaluation_report(
        context: dg.AssetExecutionContext,
    ) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult]:
        from pipeline_assets.demo_data import true_probabilities
        from pipeline_assets.evaluation.evaluating import evaluate
        from pipeline_assets.evaluation.gating import gate
        from pipeline_assets.evaluation.leakage import permuted_label_check
        from pipeline_assets.evaluation.plots import evaluation_plots
        from pipeline_assets.evaluation.report import render_report
        from pipeline_assets.statistics.model import FeatureStatistics

        with model_run(context, use_case) as (run, tracking, folder):
            model = run.require("trained_model")
            shard_folder = training_shards(run, folder / "shards", ALL)
            statistics = FeatureStatistics.from_dict(
                run.require("feature_statistics").read_json("statistics.json")
            )
            along = columns_along(run)
            evaluation = evaluate(
                run.localised(model, folder / "model"),
                shard_folder,
                statistics,
                use_case,
                seed=use_case.seed,
                truth=true_probabilities(run.platform.located(use_case.source)),
                data_versions=combined_versions(run.ancestors),
                other_baselines=spark_baselines_of(run, statistics),
                carried=along.carried,
                excluded=along.excluded,
            )
            if use_case.time_split is not None:
                evaluation = evaluation.model_copy(update={"training_date": run.key})
            staged = run.stage("evaluation_report")
            staged.write_bytes("evaluation.json", evaluation.to_json().encode())
            plots = evaluation_plots(evaluation)
            staged.write_bytes("report.html", render_report(evaluation, plots=plots).encode())
            for name, png in plots.items():
                staged.write_bytes(f"plots/{name}.png", png)
            verdict = gate(evaluation, use_case)
            permuted = permuted_label_check(shard_folder, statistics, use_case, seed=use_case.seed)
            run.seal(
                staged,
                rows=evaluation.splits["test"].rows,
                metadata={"passed": verdict.passed, "reason": verdict.reason},
            )
            checks = [
                dg.AssetCheckResult(
                    asset_key=key,
                    check_name=GATE,
                    passed=verdict.passed,
                    description=verdict.reason,
                ),
                dg.AssetCheckResult(
                    asset_key=key,
                    check_name=PERMUTED,
                    passed=permuted.passed,
                    description=permuted.reason,
                ),
            ]
            yield from checks
            require_gate(checks, {PERMUTED} if use_case.time_split else {GATE, PERMUTED})
            tracking.log_metrics(
                [
                    {
                        f"test_{name}": estimate.value
                        for name, estimate in evaluation.model.metrics.items()
                        if estimate.value is not None
                    }
                ]
            )
            version = run.publish(staged)
            predictors = [evaluation.model, *evaluation.baselines]
            names = list(evaluation.model.metrics)
            yield run.result(
                version,
                {
                    **{
                        f"test_{name}": estimate.value
                        for name, estimate in evaluation.model.metrics.items()
                        if estimate.value is not None
                    },
                    "comparison": dg.MetadataValue.md(
                        markdown_table(
                            ["predictor", *names],
                            [
                                (item.title, *(fixed(item.metrics[name].value) for name in names))
                                for item in predictors
                            ],
                        )
                    ),
                    "worst_slice": evaluation.worst_slice.title
                    if evaluation.worst_slice
                    else "none",
                    "report": dg.MetadataValue.path(
                        without_credentials(version.path("report.html"))
                    ),
                    **{name: picture(png, name) for name, png in plots.items()},
                },
            )

    return evaluation_report


def spark_baselines_of(run: StageRun, statistics: "FeatureStatistics") -> "Sequence[Fitted]":
    """Baselines that Spark trains, where Spark is the engine and one version holds all rows."""
    if run.use_case.time is not None or run.platform.environment.engine.kind == "sail":
        return ()
    from pipeline_assets.engine import engine_name, read_version
    from pipeline_assets.evaluation.spark_baselines import spark_baselines

    session = run.context.resources.engine.session
    if engine_name(session) != "spark":
        return ()
    return spark_baselines(read_version(session, run.require("features")), statistics, run.use_case)
