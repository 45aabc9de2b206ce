"""Jobs and the schedule of a use case."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from pipeline_assets.spec import UseCase

Job = Any
"""What `define_asset_job` returns; Dagster does not export its type."""

RETRAINED = (
    "feature_statistics",
    "tensor_shards",
    "trained_model",
    "evaluation_report",
    "model_version",
    "run_profile",
)
"""What `<use_case>_retrain` makes anew from the features that are there, with its monitoring reference."""


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
            else dg.AssetSelection.key_prefixes(name)
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
