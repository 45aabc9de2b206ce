"""The model assets of a use case with `time`: by training date, or one model where there is no `time_split`.

Drift checks and the monitoring sensor are not among them: they compare one version of the data with the
one that a model was trained on, and here each day has a version of its own.
"""

from typing import Any

import dagster as dg

from pipeline_assets.orchestration.automation import build_tuning_job
from pipeline_assets.orchestration.backtest import build_backtest_report
from pipeline_assets.orchestration.evaluation import build_evaluation_report
from pipeline_assets.orchestration.partitions import training_dates
from pipeline_assets.orchestration.registry import build_model_version
from pipeline_assets.orchestration.statistics import build_feature_statistics
from pipeline_assets.orchestration.tracking import build_tracking, tracking_key
from pipeline_assets.orchestration.training import build_trained_model
from pipeline_assets.orchestration.tuning import build_tuning_study
from pipeline_assets.spec import UseCase

TRAINED = ("feature_statistics", "trained_model", "evaluation_report", "model_version")
"""What `<use_case>_train` makes."""


def timed_model_definitions(use_case: UseCase) -> dg.Definitions:
    """Assets, checks and jobs from the features' statistics to the registered model and the backtest."""
    assets = [
        build_feature_statistics(use_case),
        build_trained_model(use_case),
        build_evaluation_report(use_case),
        build_model_version(use_case),
    ]
    jobs = [
        _job(
            use_case,
            "train",
            "train, evaluate and register the model of a training date.",
            TRAINED,
            partitions_def=training_dates(use_case),
        )
    ]
    if use_case.tuning is not None:
        assets.append(build_tuning_study(use_case, use_case.tuning))
        jobs.append(build_tuning_job(use_case, partitions_def=training_dates(use_case)))
    if use_case.time_split is not None:
        assets.append(build_backtest_report(use_case))
        about = "the evaluations of all training dates as one."
        jobs.append(_job(use_case, "backtest", about, ("backtest_report",)))
    return dg.Definitions(
        assets=assets, jobs=jobs, resources={tracking_key(use_case): build_tracking(use_case)}
    )


def _job(
    use_case: UseCase, suffix: str, description: str, assets: tuple[str, ...], **options: Any
) -> Any:
    name = use_case.name
    return dg.define_asset_job(
        f"{name}_{suffix}",
        selection=dg.AssetSelection.assets(*[[name, asset] for asset in assets]),
        tags={"use_case": name},
        description=f"{name}: {description}",
        **options,
    )
