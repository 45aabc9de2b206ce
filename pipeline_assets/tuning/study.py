"""A study: trials of a search space with Ray Tune, noted in a journal from which the next execution continues."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pipeline_assets.spec import Tuning
from pipeline_assets.spec.factory_options import default_options
from pipeline_assets.training.config import Monitor, TrainingJob
from pipeline_assets.training.metrics import is_better
from pipeline_assets.tuning.checking import check_study
from pipeline_assets.tuning.errors import TuningError
from pipeline_assets.tuning.journal import Journal
from pipeline_assets.tuning.ray_session import RaySession, ray_session
from pipeline_assets.tuning.settings import declared_settings
from pipeline_assets.tuning.space import choices, distributions, encoded
from pipeline_assets.tuning.trials import Trial, best_trial

if TYPE_CHECKING:
    from pipeline_assets.tuning.halving import Halving

Listener = Callable[[Trial], None]
"""Is told each trial when it begins, after each of its epochs, and when it is over."""
_RETRIES = 1
"""Of a trial whose process died, which may have been another's fault."""


def run_study(
    job: TrainingJob,
    tuning: Tuning,
    *,
    seed: int,
    journal: Journal,
    listener: Listener,
    ray_address: str | None = None,
) -> list[Trial]:
    """Run the trials that are missing; return all, those of earlier executions included, by number.

    Fewer than `tuning.trials` are returned where the time limit is reached.

    Args:
        job: the training, with the settings as declared.
        tuning: the space and the budget.
        seed: of the search.
        journal: of the study: the same for the same study.
        listener: is told each trial, those first that were over in earlier executions.
        ray_address: `host:port` of a Ray cluster that this machine belongs to; None for this machine alone.

    Raises:
        ShardError: shards that are damaged.
        TrainingError: nothing to train with.
        TuningError: Ray cannot run a trial, or no trial has a result.
    """
    for trial in journal.finished:
        listener(trial)
    if len(journal.finished) < tuning.trials:
        check_study(job, tuning.space)
        with ray_session(ray_address) as session:
            # What trials on other machines write lies where all see it.
            results = (session.folder if ray_address is None else journal.folder) / "results"
            try:
                _run_missing(job, tuning, seed, journal, listener, session, results)
            finally:
                shutil.rmtree(results, ignore_errors=True)
    trials = sorted(journal.finished, key=lambda trial: trial.number)
    if best_trial(trials, job.training.monitor) is None:
        raise TuningError(_no_result(trials))
    return trials


def _run_missing(
    job: TrainingJob,
    tuning: Tuning,
    seed: int,
    journal: Journal,
    listener: Listener,
    session: RaySession,
    results: Path,
) -> None:
    from ray import tune

    from pipeline_assets.tuning.halving import Halving
    from pipeline_assets.tuning.trial import run_trial
    from pipeline_assets.tuning.watching import StudyEnd, Watch

    monitor, needs = job.training.monitor, tuning.resources
    mode = "min" if is_better(monitor, 0.0, 1.0) else "max"
    at_once = session.concurrency(needs.cpus, needs.gpus)
    halving = None
    if tuning.scheduler == "asha":
        halving = Halving(
            mode=mode,
            max_epochs=job.training.max_epochs,
            grace_epochs=tuning.grace_epochs,
            factor=tuning.reduction_factor,
        )
        for trial in journal.finished:
            if trial.outcome != "failed":
                halving.remember(trial, best_so_far(trial, monitor))
    watch = Watch(journal, choices=choices(tuning.space), halving=halving, listener=listener)
    limit = tuning.time_limit
    end = StudyEnd(watch, None if limit is None else limit.total_seconds())
    trainable = tune.with_resources(
        tune.with_parameters(
            run_trial,
            job=job.to_dict(),
            choices=choices(tuning.space),
            cpus=needs.cpus,
            gpus=needs.gpus,
        ),
        {"CPU": needs.cpus, "GPU": needs.gpus},
    )
    tuner = tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=_search(job, tuning, seed, journal, mode, halving),
            scheduler=halving,
            num_samples=tuning.trials - len(journal.finished),
            max_concurrent_trials=min(at_once, tuning.max_concurrent or at_once),
            # A process serves one trial after another: torch is imported once in each.
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name="study",
            storage_path=str(results),
            callbacks=[watch],
            stop=end,
            failure_config=tune.FailureConfig(max_failures=_RETRIES),
            verbose=0,
        ),
    )
    tuner.fit()
    if watch.error is not None:
        raise watch.error


def _search(
    job: TrainingJob,
    tuning: Tuning,
    seed: int,
    journal: Journal,
    mode: str,
    halving: Halving | None,
) -> Any:
    """Who proposes settings: first those declared and those of interrupted trials, then the sampler's."""
    from optuna.samplers import RandomSampler, TPESampler

    from pipeline_assets.tuning.search import Search
    from pipeline_assets.tuning.trial import BEST

    space, monitor = tuning.space, job.training.monitor
    declared = declared_settings(job, space, default_options(job.model.factory))
    first = list(journal.interrupted.values())
    if declared not in journal.begun.values():
        first.insert(0, declared)
    # A sampler that is made anew would propose the settings of finished trials again.
    own_seed = (seed if tuning.seed is None else tuning.seed) + 1_000_003 * len(journal.finished)
    sampler = TPESampler if tuning.search == "optuna" else RandomSampler
    search = Search(
        ended=() if halving is None else halving.ended,
        space=cast(dict[str, Any], distributions(space)),
        metric=BEST,
        mode=mode,
        sampler=sampler(seed=own_seed % 2**32),
        points_to_evaluate=[point for of in first if (point := encoded(space, of)) is not None],
    )
    for trial in journal.finished:
        point, scores = encoded(space, trial.settings), best_so_far(trial, monitor)
        if point is not None:
            search.add_evaluated_point(
                point,
                cast(float, trial.score(monitor)),
                error=trial.outcome == "failed" or trial.score(monitor) is None,
                pruned=trial.outcome == "stopped",
                # It counts them from 0, epochs are counted from 1.
                intermediate_values=[*scores[:1], *scores],
            )
    return search


def best_so_far(trial: Trial, monitor: Monitor) -> list[float]:
    """The best score after each epoch."""
    found: list[float] = []
    for score in trial.scores:
        found.append(score if not found or is_better(monitor, score, found[-1]) else found[-1])
    return found


def _no_result(trials: list[Trial]) -> str:
    if not trials:
        return "no trial was over within tuning.time_limit: allow more time, or fewer epochs"
    return (
        f"none of {len(trials)} trials has a score; trial {trials[0].number} "
        f"({dict(trials[0].settings)}): {trials[0].message}"
    )
