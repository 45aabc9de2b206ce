"""model_version: the evaluated model in the MLflow registry, under the alias `challenger`."""

import dagster as dg

from pipeline_assets.orchestration.assets import code_version, stage_asset
from pipeline_assets.orchestration.failures import GateError
from pipeline_assets.orchestration.model_run import model_run
from pipeline_assets.orchestration.stage import StageRun
from pipeline_assets.orchestration.tracking import tracking_key
from pipeline_assets.orchestration.training_sets import (
    combined_versions,
    model_options,
    published_dates,
)
from pipeline_assets.spec import UseCase
from pipeline_assets.spec.credentials import without_credentials


def build_model_version(use_case: UseCase) -> dg.AssetsDefinition:
    """The `model_version` asset."""

    @stage_asset(
        use_case,
        "model_version",
        stage="registry",
        kinds={"mlflow"},
        deps=["trained_model", "evaluation_report"],
        description=f"Registered version of the model {use_case.model_name}.",
        code_version=code_version(use_case.registry),
        required_resource_keys={"platform", tracking_key(use_case)},
        **model_options(use_case),
    )
    def model_version(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        from pipeline_assets.evaluation.result import Evaluation
        from pipeline_assets.registry import register

        with model_run(context, use_case) as (run, tracking, folder):
            model, report = run.require("trained_model"), run.require("evaluation_report")
            with report.open("evaluation.json") as stream:
                evaluation = Evaluation.from_json(stream.read())
            if evaluation.verdict is not None and not evaluation.verdict.passed:
                raise GateError(f"not registered: {evaluation.verdict.reason}")
            registered = register(
                model_folder=run.localised(model, folder / "model"),
                evaluation=evaluation,
                use_case=use_case,
                tracking_uri=tracking.tracking_uri,
                mlflow_run_id=tracking.run_id,
                dagster_run_id=context.run.run_id,
                data_versions=combined_versions(run.ancestors),
                training_date=None if use_case.time_split is None else run.key,
                challenger=_is_newest(run),
            )
            context.instance.add_run_tags(context.run.run_id, {"mlflow_run_id": tracking.run_id})
            staged = run.stage("model_version")
            staged.write_json(
                "model_version.json",
                {
                    **registered.to_dict(),
                    "tracking_uri": without_credentials(tracking.tracking_uri),
                },
            )
            run.seal(staged, rows=1, metadata={"model_uri": registered.model_uri})
            version = run.publish(staged)
            return run.result(
                version,
                {
                    "registered_model": registered.name,
                    "version": registered.version,
                    "alias": registered.alias or "none: a later training date is registered",
                    "model_uri": registered.model_uri,
                    "mlflow_run_id": registered.mlflow_run_id,
                },
            )

    return model_version


def _is_newest(run: StageRun) -> bool:
    """Whether no model of a later training date is registered: a backtest's past dates challenge nobody."""
    return all(date <= run.key for date in published_dates(run, "model_version"))
