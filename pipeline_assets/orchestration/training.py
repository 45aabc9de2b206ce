"""trained_model: torch.distributed over the shards, in processes of its own that report through Pipes."""

import dataclasses
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.errors import DagsterPipesExecutionError

from pipeline_assets.orchestration.assets import code_version, stage_asset
from pipeline_assets.orchestration.best_settings import STUDY, best_settings
from pipeline_assets.orchestration.epochs import EpochMetrics
from pipeline_assets.orchestration.metadata import markdown_table, picture
from pipeline_assets.orchestration.model_run import model_run
from pipeline_assets.orchestration.stage import StageRun
from pipeline_assets.orchestration.superseded import remove_superseded
from pipeline_assets.orchestration.tracking import tracking_key
from pipeline_assets.orchestration.training_on_spark import launch_on_spark
from pipeline_assets.orchestration.training_profile import profile_files, profile_tables
from pipeline_assets.orchestration.training_sets import (
    FITTED,
    model_code,
    model_options,
    training_set_dep,
    training_shards,
)
from pipeline_assets.shards.index import INDEX_FILE
from pipeline_assets.spec import UseCase
from pipeline_assets.training.config import (
    LaunchConfig,
    ModelConfig,
    PreprocessorConfig,
    TrainingConfig,
    TrainingError,
    TrainingJob,
)
from pipeline_assets.training.ends import where_it_goes_on
from pipeline_assets.training.heartbeat import STACKS
from pipeline_assets.training.launch import PARENT_PID
from pipeline_assets.training.profile.findings import PROFILE_FILE
from pipeline_assets.training.progress import METRICS_FILE
from pipeline_assets.training.reason import Reason
from pipeline_assets.tuning.settings import with_settings

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
        deps=[
            training_set_dep(use_case, "tensor_shards", FITTED),
            "feature_statistics",
            *([STUDY] if use_case.takes_best else []),
        ],
        description="The trained network with its preprocessing, as safetensors and JSON.",
        code_version=code_version(
            use_case.model,
            use_case.training.without_profile(),
            use_case.seed,
            *model_code(use_case),
            *([STUDY] if use_case.takes_best else []),
        ),
        pool=POOL,
        required_resource_keys={"platform", "engine", tracking_key(use_case)},
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
                settings=best_settings(run) if use_case.takes_best else {},
            )
            dated = {} if use_case.time_split is None else {"training_date": run.key}
            tracking.log_parameters({**_parameters(job), **dated})
            output = Path(job.output)
            with EpochMetrics(
                tracking,
                output / METRICS_FILE,
                context.log,
                checkpoint_epochs=job.training.checkpoint_epochs,
            ):
                launch(context, job, folder / "job.json")
            history = _read(output / "history.json")
            tracking.log_metrics([{key: history[key] for key in ("best_epoch", "best_score")}])
            staged = run.stage("trained_model")
            traced = _read(output / PROFILE_FILE) if job.training.profile else None
            for name in (*PUBLISHED, *(profile_files(traced) if traced else ())):
                staged.write_bytes(name, (output / name).read_bytes())
            staged.write_json("spec.json", use_case.model_dump(mode="json"))
            staged.write_json("statistics.json", statistics.read_json("statistics.json"))
            run.seal(
                staged,
                rows=_read(output / "config.json")["train_rows"],
                metadata={"history": history, "mlflow_run_id": tracking.run_id},
            )
            # A model in use keeps its training statistics, however many were trained since.
            in_use = aliased_models(use_case.model_name, tracking_uri=tracking.tracking_uri)
            kept = {model.data_versions.get("trained_model", "") for model in in_use}
            version = run.publish(staged, protect=kept)
            remove_superseded(Path(job.checkpoints), keep=False)
            epochs = history["epochs"]
            return run.result(
                version,
                {
                    "epochs": len(epochs),
                    "best_epoch": history["best_epoch"],
                    f"validation_{job.training.monitor}": history["best_score"],
                    "mlflow_run_id": tracking.run_id,
                    "history": dg.MetadataValue.md(_table(epochs)),
                    "curves": picture(training_curves(epochs), "training curves"),
                    **_irregularities(history),
                    **(profile_tables(traced, version) if traced else {}),
                },
            )

    return trained_model


def training_job(
    run: StageRun,
    *,
    shards: Path,
    statistics: dict[str, Any],
    output: Path,
    settings: Mapping[str, Any] | None = None,
) -> TrainingJob:
    """Everything that the training processes are told; `settings` take the place of declared ones.

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
    job = with_settings(job, settings or {})
    index = json.loads((shards / INDEX_FILE).read_text(encoding="utf-8"))
    fingerprint = job.fingerprint(code_version(json.dumps(index, sort_keys=True)))
    checkpoints = environment.resolve("data/checkpoints") / use_case.name / run.partition
    return dataclasses.replace(job, checkpoints=str(checkpoints / fingerprint))


def launch(context: dg.AssetExecutionContext, job: TrainingJob, path: Path) -> None:
    """Run the launcher under Pipes; its lines arrive in the run's log as they are written.

    On executors, they arrive on standard output.

    Raises:
        TrainingError: with what the rank that failed first had to say.
        TrainingInterrupted: with the same, where the reason may pass.
    """
    path.write_text(json.dumps(job.to_dict()), encoding="utf-8")
    if job.launch.launcher == "spark":
        session = context.resources.engine.spark_session
        return launch_on_spark(session, job, path, context.log.warning)
    if job.launch.rdzv_endpoint is not None:
        context.log.info(
            f"{job.launch.nnodes} nodes meet at {job.launch.rdzv_endpoint}: start `python -m "
            f"pipeline_assets.training.launch {path}` on the others"
        )
    try:
        dg.PipesSubprocessClient().run(
            context=context,
            command=[sys.executable, "-m", "pipeline_assets.training.launch", str(path)],
            env={PARENT_PID: str(os.getpid())},
        )
    except DagsterPipesExecutionError as error:
        # The folder of the run is removed; its log stays.
        for stacks in sorted((Path(job.output) / STACKS).glob("*.txt")):
            context.log.error(f"{stacks.name}\n{stacks.read_text(encoding='utf-8')}")
        raise Reason(Path(job.output)).read() or TrainingError(
            f"the launcher of the training ended without a message ({error}; -9 is that it was killed, as the "
            f"kernel does when memory runs out). {where_it_goes_on(job.checkpoints)}"
        ) from None


def _table(epochs: Sequence[Mapping[str, Any]]) -> str:
    """The history, with a mark in the row whose weights the model has."""
    rows = [{**epoch, "best": "best" if epoch["best"] else ""} for epoch in epochs]
    return markdown_table(list(rows[0]), [list(row.values()) for row in rows])


def _irregularities(history: Mapping[str, Any]) -> dict[str, Any]:
    """What was left out or repeated, where the policies of the spec let the training go on."""
    left_out, reloads = history["left_out_shards"], history["reloads"]
    found: dict[str, Any] = {}
    if left_out:
        found["left_out_shards"] = dg.MetadataValue.md(
            markdown_table(list(left_out[0]), [list(shard.values()) for shard in left_out])
        )
        found["left_out_rows"] = sum(shard["rows"] for shard in left_out)
    if reloads:
        found["reloads"] = dg.MetadataValue.md(
            markdown_table(list(reloads[0]), [list(reload.values()) for reload in reloads])
        )
    return found


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def _parameters(job: TrainingJob) -> dict[str, Any]:
    training = {f"training.{key}": value for key, value in dataclasses.asdict(job.training).items()}
    options = {f"model.{key}": value for key, value in job.model.options.items()}
    return {"seed": job.seed, "model.factory": job.model.factory, **options, **training}
