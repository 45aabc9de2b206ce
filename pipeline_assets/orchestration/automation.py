"""Jobs and the schedule of a use case."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from pipeline_assets.orchestration.assets import source_assets
from pipeline_assets.orchestration.best_settings import STUDY
from pipeline_assets.spec import UseCase

Job = Any
"""What `define_asset_job` returns; Dagster does not export its type."""
Schedule = Any
"""What `build_schedule_from_partitioned_job` returns; likewise."""

RETRAINED = (
    "feature_statistics",
    "tensor_shards",
    "trained_model",
    "evaluation_report",
    "model_version",
    "run_profile",
)
"""What `<use_case>_retrain` makes anew from the features that are there, with its monitoring reference."""


DATA = ("raw", "validated", "rejected", "features", "tensor_shards")
"""What `<use_case>_data` makes of a partition's source files; where there are `sources`, theirs as well."""


@dataclass(frozen=True, kw_only=True)
class DataJobs:
    """The jobs of a use case with `time` that make its data."""

    data: Job
    """`<use_case>_data`: source files to shards."""
    replay: Job
    """`<use_case>_replay`: validate raw again, after the contract or the source was mended."""


@dataclass(frozen=True, kw_only=True)
class Jobs:
    """The jobs of a use case."""

    full: Job
    """`<use_case>_full`: source files to registered model."""
    retrain: Job
    """`<use_case>_retrain`: train, evaluate and register on the published features."""
    replay: Job
    """`<use_case>_replay`: validate raw again, after the contract or the source was mended."""
    statistics: Job
    """`<use_case>_statistics`: statistics of the published features, for monitoring."""


def build_jobs(use_case: UseCase) -> Jobs:
    """The jobs of a use case."""
    name = use_case.name

    def job(suffix: str, description: str, assets: Sequence[str]) -> Job:
        selection = (
            dg.AssetSelection.assets(*[[name, asset] for asset in assets])
            if assets
            else _whole_chain(use_case)
        )
        return dg.define_asset_job(
            f"{name}_{suffix}",
            selection=selection,
            tags={"use_case": name},
            description=f"{name}: {description}",
        )

    return Jobs(
        full=job("full", "from source files to a registered model.", ()),
        retrain=job("retrain", "train, evaluate and register on the features.", RETRAINED),
        replay=job("replay", "validate raw again.", ("validated", "rejected")),
        statistics=job("statistics", "statistics of the features.", ("feature_statistics",)),
    )


def build_tuning_job(use_case: UseCase, **options: Any) -> Job:
    """`<use_case>_tuning`: the search for better settings, by itself."""
    return dg.define_asset_job(
        f"{use_case.name}_tuning",
        selection=dg.AssetSelection.assets([use_case.name, STUDY]),
        tags={"use_case": use_case.name},
        description=f"{use_case.name}: search for better settings of model and training.",
        **options,
    )


def _whole_chain(use_case: UseCase) -> dg.AssetSelection:
    """All assets; a study, which takes long, only where the model is made of it."""
    everything = dg.AssetSelection.key_prefixes(use_case.name)
    if use_case.tuning is None or use_case.takes_best:
        return everything
    return everything - dg.AssetSelection.assets([use_case.name, STUDY])


def build_data_jobs(use_case: UseCase) -> DataJobs:
    """The jobs of a use case with `time` that make its data, by partition or range of partitions."""
    name = use_case.name

    def job(suffix: str, description: str, assets: Sequence[str]) -> Job:
        return dg.define_asset_job(
            f"{name}_{suffix}",
            selection=dg.AssetSelection.assets(*[[name, asset] for asset in assets]),
            tags={"use_case": name},
            description=f"{name}: {description}",
        )

    return DataJobs(
        data=job(
            "data",
            "from a partition's source files to its shards.",
            (*DATA, *source_assets(use_case)),
        ),
        replay=job("replay", "validate raw again.", ("validated", "rejected")),
    )


def build_data_schedule(use_case: UseCase, jobs: DataJobs) -> Schedule:
    """The partition that ended last, some time after its end; stopped until someone starts it.

    Where files come when they like, the arrival sensor is the better trigger.
    """
    hourly = use_case.time is not None and use_case.time.partition == "hourly"
    return dg.build_schedule_from_partitioned_job(
        jobs.data,
        name=f"{use_case.name}_{'hourly' if hourly else 'daily'}",
        minute_of_hour=15 if hourly else 0,
        hour_of_day=None if hourly else 6,
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description=f"{use_case.name}: the data of the {'hour' if hourly else 'day'} before.",
    )


def build_schedule(use_case: UseCase) -> dg.ScheduleDefinition:
    """The whole chain on the spec's cron; stopped until someone starts it."""
    return dg.ScheduleDefinition(
        name=f"{use_case.name}_weekly",
        job_name=f"{use_case.name}_full",
        cron_schedule=use_case.schedule.cron,
        execution_timezone=use_case.schedule.timezone,
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description=f"{use_case.name}: the whole chain, {use_case.schedule.cron}.",
    )
