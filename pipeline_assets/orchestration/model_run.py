"""How the stages that make, judge or register a model begin: the stage's run, the MLflow run, a folder."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg

from pipeline_assets.orchestration.stage import StageRun, stage_run
from pipeline_assets.orchestration.tracking import Tracking, tracking_key
from pipeline_assets.orchestration.training_sets import model_key
from pipeline_assets.spec import UseCase
from pipeline_assets.temporary import temporary_folder


@contextmanager
def model_run(
    context: dg.AssetExecutionContext, use_case: UseCase
) -> Generator[tuple[StageRun, Tracking, Path], None, None]:
    """`stage_run` of an asset that requires the resources `platform` and the use case's tracking.

    Yields:
        The stage's run, the MLflow run, and a folder that is removed at the end.
    """
    tracking: Tracking = getattr(context.resources, tracking_key(use_case))
    asset = context.asset_key.path[-1]
    with (
        stage_run(
            context, context.resources.platform, use_case, model_key(context, use_case)
        ) as run,
        temporary_folder(asset) as folder,
    ):
        yield run, tracking, folder
