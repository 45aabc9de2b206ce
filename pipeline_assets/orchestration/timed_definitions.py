"""All definitions of one use case with `time`: its data by day or hour, its models by training date."""

import warnings

import dagster as dg

from pipeline_assets.orchestration.arrivals import build_arrivals_sensor
from pipeline_assets.orchestration.automation import build_data_jobs, build_data_schedule
from pipeline_assets.orchestration.features import build_features
from pipeline_assets.orchestration.raw import build_raw
from pipeline_assets.orchestration.shards import build_tensor_shards
from pipeline_assets.orchestration.sources import build_sources
from pipeline_assets.orchestration.timed_models import timed_model_definitions
from pipeline_assets.orchestration.validated import build_validated
from pipeline_assets.spec import UseCase


def timed_definitions(use_case: UseCase) -> dg.Definitions:
    """Assets, checks, jobs and schedule of a use case with `time`."""
    with warnings.catch_warnings():
        # Backfill policies are in beta; whoever loads the definitions can do nothing about it.
        warnings.simplefilter("ignore", dg.BetaWarning)
        return dg.Definitions.merge(_data_definitions(use_case), timed_model_definitions(use_case))


def _data_definitions(use_case: UseCase) -> dg.Definitions:
    jobs = build_data_jobs(use_case)
    return dg.Definitions(
        assets=[
            build_raw(use_case),
            build_validated(use_case),
            *build_sources(use_case),
            build_features(use_case),
            build_tensor_shards(use_case),
        ],
        jobs=[jobs.data, jobs.replay],
        schedules=[build_data_schedule(use_case, jobs)],
        sensors=[build_arrivals_sensor(use_case, jobs.data)],
    )
