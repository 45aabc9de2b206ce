"""tuning_study: trials with Ray Tune on the published shards, and the best settings that they found."""

import dataclasses
import json
import math
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import dagster as dg

from pipeline_assets.orchestration.assets import code_version, stage_asset
from pipeline_assets.orchestration.best_settings import BEST_FILE, STUDY
from pipeline_assets.orchestration.metadata import markdown_table, picture
from pipeline_assets.orchestration.model_run import model_run
from pipeline_assets.orchestration.stage import StageRun, told_to_dagster
from pipeline_assets.orchestration.superseded import remove_superseded
from pipeline_assets.orchestration.tracking import tracking_key
from pipeline_assets.orchestration.training import POOL, training_job
from pipeline_assets.orchestration.training_sets import (
    FITTED,
    model_code,
    model_options,
    training_set_dep,
    training_shards,
)
from pipeline_assets.orchestration.trial_runs import TrialRuns
from pipeline_assets.shards.index import load_index
from pipeline_assets.spec import Tuning, UseCase
from pipeline_assets.training.config import Monitor, TrainingConfig, TrainingJob
from pipeline_assets.tuning.journal import Journal
from pipeline_assets.tuning.trials import Trial, best_trial, ranked

_SEARCHED = {"space", "search", "scheduler", "grace_epochs", "reduction_factor", "seed"}
"""What makes a study; the rest is how much of it is done, and where."""
_DECIDES = _SEARCHED | {"trials"}
"""What decides which settings are found."""
_TIMES = {"began", "seconds"}


def build_tuning_study(use_case: UseCase, tuning: Tuning) -> dg.AssetsDefinition:
    """The `tuning_study` asset."""

    @stage_asset(
        use_case,
        STUDY,
        stage="tuning",
        kinds={"ray", "optuna", "pytorch"},
        deps=[training_set_dep(use_case, "tensor_shards", FITTED), "feature_statistics"],
        description="Trials of other settings, judged on the validation rows, and the best of them.",
        code_version=code_version(
            use_case.model,
            use_case.training.without_profile(),
            json.dumps(tuning.model_dump(mode="json", include=_DECIDES), sort_keys=True),
            use_case.seed,
            *model_code(use_case),
        ),
        pool=POOL,
        required_resource_keys={"platform", tracking_key(use_case)},
        **model_options(use_case),
    )
    def tuning_study(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        from pipeline_assets.tuning.extra import require_extra
        from pipeline_assets.tuning.importance import importances
        from pipeline_assets.tuning.plots import importance_bars, parallel_coordinates

        with told_to_dagster(context):
            require_extra()
        with model_run(context, use_case) as (run, tracking, folder), ExitStack() as stack:
            monitor: Monitor = use_case.training.monitor
            with _place(run, folder) as place:
                job, study = _job(run, tuning, folder, place)
                # Until what it found is published.
                journal = stack.enter_context(Journal(study))
                if journal.published >= tuning.trials:
                    # It was complete: whoever executes it again wants another one.
                    journal.start_anew()
                with TrialRuns(tracking, journal.id, monitor, context.log) as runs:
                    trials = _trials(run, tuning, job, journal, runs)
            best = best_trial(trials, monitor)
            assert best is not None
            score = best.score(monitor)
            tracking.log_metrics(
                [{"tuning_trials": len(trials), "tuning_best_score": score or 0.0}]
            )
            shares = importances(trials, tuning.space, monitor)
            plots = {"parallel_coordinates": parallel_coordinates(trials, tuning.space, monitor)}
            if shares:
                plots["importance"] = importance_bars(shares)
            staged = run.stage(STUDY)
            staged.write_json(
                BEST_FILE,
                {
                    "settings": dict(best.settings),
                    "trial": best.number,
                    "monitor": monitor,
                    "score": score,
                    "epoch": best.best_epoch(monitor),
                    "factory": use_case.model.factory,
                },
            )
            staged.write_json("trials.json", [_plain(trial) for trial in trials])
            staged.write_json("importance.json", shares)
            for name, png in plots.items():
                staged.write_bytes(f"plots/{name}.png", png)
            run.seal(
                staged,
                rows=len(trials),
                metadata={"best": best.to_dict(), "mlflow_run_id": tracking.run_id},
            )
            version = run.publish(staged)
            # It continues if `trials` is raised, or time has cut it off.
            journal.publish()
            remove_superseded(study, keep=True)
            return run.result(
                version,
                {
                    "trials": len(trials),
                    "trials_wanted": tuning.trials,
                    "stopped_early": sum(trial.outcome == "stopped" for trial in trials),
                    "failed": sum(trial.outcome == "failed" for trial in trials),
                    "best_trial": best.number,
                    f"validation_{monitor}": score,
                    "best_settings": dg.MetadataValue.json(dict(best.settings)),
                    "mlflow_run_id": tracking.run_id,
                    "trials_table": dg.MetadataValue.md(_table(trials, tuning, job.training)),
                    **{name: picture(png, name) for name, png in plots.items()},
                },
            )

    return tuning_study


@contextmanager
def _place(run: StageRun, folder: Path) -> Iterator[Path]:
    """A folder that all trials see, removed at the end: what refers to shards may name the store's options."""
    environment = run.platform.environment
    if environment.tuning.ray_address is None:
        yield folder
        return
    # Trials run on other machines, which see the home and not this one's temporary folder.
    place = environment.resolve("data/tuning") / run.use_case.name / run.partition / "inputs"
    shutil.rmtree(place, ignore_errors=True)
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _job(run: StageRun, tuning: Tuning, folder: Path, place: Path) -> tuple[TrainingJob, Path]:
    """The training of all trials, and the folder that outlives this run if it is interrupted.

    Args:
        run: of the study.
        tuning: what is searched.
        folder: for files of this machine.
        place: for what all trials read.
    """
    environment = run.platform.environment
    statistics = run.require("feature_statistics").read_json("statistics.json")
    shards = training_shards(run, place / "shards", FITTED)
    job = training_job(run, shards=shards, statistics=statistics, output=folder / "model")
    # What a trial would measure is its neighbours.
    job = dataclasses.replace(job, training=dataclasses.replace(job.training, profile=False))
    searched = json.dumps(tuning.model_dump(mode="json", include=_SEARCHED), sort_keys=True)
    name = code_version(job.fingerprint(load_index(shards).hash), searched)
    return job, environment.resolve("data/tuning") / run.use_case.name / run.partition / name


def _trials(
    run: StageRun, tuning: Tuning, job: TrainingJob, journal: Journal, runs: TrialRuns
) -> list[Trial]:
    from pipeline_assets.tuning.study import run_study

    monitor, most = job.training.monitor, job.training.max_epochs
    seen: list[Trial] = []
    kept = {trial.number for trial in journal.finished}
    if journal.begun:
        run.tell(
            f"trials kept from executions before: {len(kept)} of {tuning.trials}; "
            f"interrupted ones that begin again: {len(journal.interrupted)}"
        )

    def listen(trial: Trial) -> None:
        runs.add(trial)
        if not trial.is_over:
            return
        seen.append(trial)
        if trial.number in kept:
            return
        best = best_trial(seen, monitor)
        score, reached = trial.score(monitor), None if best is None else best.score(monitor)
        run.tell(
            f"trial {trial.number}: {trial.ending(monitor, most)}"
            + (f"; {monitor} {score:.5f}" if score is not None else "")
            + (f"; best {reached:.5f}, {len(seen)}/{tuning.trials} done" if reached else "")
        )

    trials = run_study(
        job,
        tuning,
        seed=run.use_case.seed,
        journal=journal,
        listener=listen,
        ray_address=run.platform.environment.tuning.ray_address,
    )
    if len(trials) < tuning.trials:
        run.tell(
            f"tuning.time_limit is over: {len(trials)} of {tuning.trials} trials are done, the next "
            "execution continues"
        )
    return trials


def _plain(trial: Trial) -> dict[str, Any]:
    """What of a trial is the same whenever it is done; a score that is no number is none."""
    return {
        **{name: value for name, value in trial.to_dict().items() if name not in _TIMES},
        "scores": [None if math.isnan(score) else score for score in trial.scores],
    }


def _table(trials: list[Trial], tuning: Tuning, training: TrainingConfig) -> str:
    """All trials, the best first."""
    monitor = training.monitor
    return markdown_table(
        ["trial", monitor, "epochs", "ended", "seconds", *tuning.space],
        [
            (
                trial.number,
                trial.score(monitor),
                trial.epochs,
                trial.ending(monitor, training.max_epochs),
                round(trial.seconds, 1),
                *(trial.settings[name] for name in tuning.space),
            )
            for trial in ranked(trials, monitor)
        ],
    )
