"""trained_model: torch.distributed over the shards, in processes of its own that report through Pipes."""

import dataclasses
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.errors import DagsterPipesExecutionError

from pipeline_assets.orchestration.assets import code_version, stage_asset
from pipeline_assets.orchestration.epochs import EpochMetrics
from pipeline_assets.orchestration.metadata import markdown_table, picture
from pipeline_assets.orchestration.model_run import model_run
from pipeline_assets.orchestration.stage import StageRun
from pipeline_assets.orchestration.tracking import tracking_key
from pipeline_assets.orchestration.training_sets import (
    FITTED,
    model_code,
    model_options,
    training_set_dep,
    training_shards,
)
from pipeline_assets.shards.index import INDEX_FILE, load_index
from pipeline_assets.spec import UseCase
from pipeline_assets.training.config import (
    LaunchConfig,
    ModelConfig,
    PreprocessorConfig,
    TrainingConfig,
    TrainingError,
    TrainingJob,
)
from pipeline_assets.training.progress import METRICS_FILE
from pipeline_assets.training.worker import ERROR_FILE

POOL = "training"
PUBLISHED = ("model.safetensors", "config.json", "history.json")
"""What the launcher leaves and the lake keeps; the live metrics file holds times and stays behind."""


def build_trained_model(use_case: UseCase) -> dg.AssetsDefinition:
    """The `trained_model` asset."""

    @stage_asset(
        use_case,
        "trained_model",
        stage="training",
        kinds={"pytorch", "safetensors"},
        deps=[training_set_dep(use_case, "tensor_shards", FITTED), "feature_statistics"],
        description="The trained network with its preprocessing, as safetensors and JSON.",
        code_version=code_version(
            use_case.model, use_case.training, use_case.seed, *model_code(use_case)
        ),
        pool=POOL,
        required_resource_keys={"platform", tracking_key(use_case)},
        **model_options(use_case),
    )
    def trained_model(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        from pipeline_assets.registry import aliased_models
        from pipeline_assets.training.plots import training_curves

        with model_run(context, use_case) as (run, tracking, folder):
            shards = training_shards(run, folder / "shards", FITTED)
            statistics = run.require("feature_statistics")
            job = training_job(
                run,
                shards=shards,
                statistics=statistics.read_json("statistics.json"),
                output=folder / "model",
            )
            dated = {} if use_case.time_split is None else {"training_date": run.key}
            tracking.log_parameters({**_parameters(job), **dated})
            output = Path(job.output)
            with EpochMetrics(tracking, output / METRICS_FILE, context.log):
                launch(context, job, folder / "job.json")
            history = json.loads((output / "history.json").read_text(encoding="utf-8"))
            tracking.log_metrics([{key: history[key] for key in ("best_epoch", "best_score")}])
            staged = run.stage("trained_model")
            for name in PUBLISHED:
                staged.write_bytes(name, (output / name).read_bytes())
            staged.write_json("spec.json", use_case.model_dump(mode="json"))
            staged.write_json("statistics.json", statistics.read_json("statistics.json"))
            run.seal(
                staged,
                rows=load_index(shards).split_rows["train"],
                metadata={"history": history, "mlflow_run_id": tracking.run_id},
            )
            # A model in use keeps its training statistics, however many were trained since.
            in_use = aliased_models(use_case.model_name, tracking_uri=tracking.tracking_uri)
            kept = {model.data_versions.get("trained_model", "") for model in in_use}
            version = run.publish(staged, protect=kept)
            shutil.rmtree(job.checkpoints, ignore_errors=True)
            epochs = history["epochs"]
            return run.result(
                version,
                {
                    "epochs": len(epochs),
                    "best_epoch": history["best_epoch"],
                    f"validation_{job.training.monitor}": history["best_score"],
                    "mlflow_run_id": tracking.run_id,
                    "history": dg.MetadataValue.md(
                        markdown_table(list(epochs[0]), [list(row.values()) for row in epochs])
                    ),
                    "curves": picture(training_curves(epochs), "training curves"),
                },
            )

    return trained_model


def training_job(
    run: StageRun, *, shards: Path, statistics: dict[str, Any], output: Path
) -> TrainingJob:
    """Everything that the training processes are told.

    The folder of checkpoints is named after all that shapes the weights: a run that is retried or
    launched again after a crash finds its own checkpoints, and no other run does.
    """
    use_case, environment = run.use_case, run.platform.environment
    job = TrainingJob(
        shards=str(shards),
        output=str(output),
        checkpoints="",
        seed=use_case.seed,
        model=ModelConfig(
            **use_case.model.model_dump(),
            preprocessor=PreprocessorConfig.from_statistics(
                statistics, max_vocabulary=use_case.model.max_vocabulary
            ),
        ),
        training=TrainingConfig(**use_case.training.model_dump()),
        launch=LaunchConfig(**environment.training.model_dump()),
    )
    index = json.loads((shards / INDEX_FILE).read_text(encoding="utf-8"))
    fingerprint = job.fingerprint(code_version(json.dumps(index, sort_keys=True)))
    checkpoints = environment.resolve("data/checkpoints") / use_case.name / fingerprint
    return dataclasses.replace(job, checkpoints=str(checkpoints))


def launch(context: dg.AssetExecutionContext, job: TrainingJob, path: Path) -> None:
    """Run the launcher under Pipes; its lines arrive in the run's log as they are written.

    Raises:
        TrainingError: with what the rank that failed first had to say.
    """
    path.write_text(json.dumps(job.to_dict()), encoding="utf-8")
    try:
        dg.PipesSubprocessClient().run(
            context=context,
            command=[sys.executable, "-m", "pipeline_assets.training.launch", str(path)],
        )
    except DagsterPipesExecutionError as error:
        said = Path(job.output) / ERROR_FILE
        raise TrainingError(
            said.read_text(encoding="utf-8")
            if said.exists()
            else f"the training processes ended without a message ({error}); the run's stderr has their last words"
        ) from None


def _parameters(job: TrainingJob) -> dict[str, Any]:
    training = {f"training.{key}": value for key, value in dataclasses.asdict(job.training).items()}
    options = {f"model.{key}": value for key, value in job.model.options.items()}
    return {"seed": job.seed, "model.factory": job.model.factory, **options, **training}
