"""All definitions of one use case, put together from the stages."""

import dagster as dg

from pipeline_assets.orchestration.automation import build_jobs, build_schedule, build_tuning_job
from pipeline_assets.orchestration.evaluation import build_evaluation_report
from pipeline_assets.orchestration.features import build_features
from pipeline_assets.orchestration.monitoring import build_drift_checks, build_monitoring_sensor
from pipeline_assets.orchestration.profiling import build_run_profile
from pipeline_assets.orchestration.raw import build_raw
from pipeline_assets.orchestration.registry import build_model_version
from pipeline_assets.orchestration.shards import build_tensor_shards
from pipeline_assets.orchestration.sources import build_sources
from pipeline_assets.orchestration.statistics import build_feature_statistics
from pipeline_assets.orchestration.timed_definitions import timed_definitions
from pipeline_assets.orchestration.tracking import build_tracking, tracking_key
from pipeline_assets.orchestration.training import build_trained_model
from pipeline_assets.orchestration.tuning import build_tuning_study
from pipeline_assets.orchestration.validated import build_validated
from pipeline_assets.spec import UseCase


def use_case_definitions(use_case: UseCase) -> dg.Definitions:
    """Assets, checks, jobs, schedule and sensor of a use case."""
    if use_case.time is not None:
        return timed_definitions(use_case)
    assets = [
        build_raw(use_case),
        build_validated(use_case),
        *build_sources(use_case),
        build_features(use_case),
        build_feature_statistics(use_case),
        build_tensor_shards(use_case),
        build_trained_model(use_case),
        build_evaluation_report(use_case),
        build_model_version(use_case),
        build_run_profile(use_case),
    ]
    jobs = build_jobs(use_case)
    tuning_jobs = []
    if use_case.tuning is not None:
        assets.append(build_tuning_study(use_case, use_case.tuning))
        tuning_jobs.append(build_tuning_job(use_case))
    return dg.Definitions(
        assets=assets,
        asset_checks=build_drift_checks(use_case),
        jobs=[jobs.full, jobs.retrain, jobs.replay, jobs.statistics, *tuning_jobs],
        schedules=[build_schedule(use_case)],
        sensors=[build_monitoring_sensor(use_case, jobs.retrain, jobs.statistics)],
        resources={tracking_key(use_case): build_tracking(use_case)},
    )
