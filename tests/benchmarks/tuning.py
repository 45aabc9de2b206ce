"""A study on the churn shards: successive halving against random search and against Optuna alone.

The peers are the textbook's loop: Optuna proposes settings, by chance or by its estimator, and each trial is
trained to its end in this process, one after another, with all cores. All search the space that the use case
declares, train with the project's trainer and are judged by the validation ROC AUC of the best epoch. A peer's
row "in the same time" is what it had found when the study was over. A peer that takes several times as long as
the study is ended, and its row says how far it came.
"""

import argparse
import dataclasses
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.benchmarks.report import Table

ROOT = Path(__file__).parents[2]
CHURN = ROOT / "pipeline_assets" / "defs" / "churn" / "defs.yaml"
MADE = [
    "raw", "validated", "rejected", "features", "feature_statistics", "tensor_shards",
]  # fmt: skip
PACKAGES = ["torch", "ray", "optuna"]
MLP = {
    "model": {
        "factory": "pipeline_assets.training.models.mlp:build",
        "options": {"hidden": [96], "embedding_dim": 4},
    }
}


@dataclass
class Search:
    """What a way of searching found, and when."""

    trials: int = 0
    epochs: int = 0
    seconds: float = 0.0
    best: float = 0.0
    found: list[tuple[float, float]] = field(default_factory=list)
    """Seconds since the start and the best score by then."""

    def add(self, score: float | None, epochs: int, seconds: float) -> None:
        self.trials += 1
        self.epochs += epochs
        self.seconds = seconds
        self.best = max(self.best, score or 0.0)
        self.found.append((seconds, self.best))

    def within(self, seconds: float) -> tuple[int, float]:
        """Trials that were over by then, and the best of them."""
        over = [best for at, best in self.found if at <= seconds]
        return len(over), over[-1] if over else 0.0


def prepare(home: str) -> None:
    """The churn use case down to its shards, in a folder of its own."""
    import dagster as dg

    from pipeline_assets.features.use_cases import load_checked_use_case
    from pipeline_assets.orchestration.definitions import use_case_definitions
    from pipeline_assets.orchestration.resources import Engine, Platform

    definitions = dg.Definitions.merge(
        use_case_definitions(load_checked_use_case(CHURN)),
        dg.Definitions(
            resources={"platform": Platform(), "engine": Engine()}, executor=dg.in_process_executor
        ),
    )
    with dg.DagsterInstance.ephemeral(home) as instance:
        job = definitions.resolve_job_def("churn_full")
        keys = [dg.AssetKey(["churn", asset]) for asset in MADE]
        assert job.execute_in_process(instance=instance, asset_selection=keys).success


def training_job(home: Path, changes: dict[str, Any], max_epochs: int) -> tuple[Any, Any]:
    """The training as `trained_model` would do it, and the declared study."""
    from pipeline_assets.features.use_cases import load_checked_use_case
    from pipeline_assets.lake import Lake
    from pipeline_assets.training.config import (
        ModelConfig,
        PreprocessorConfig,
        TrainingConfig,
        TrainingJob,
    )

    use_case = load_checked_use_case(CHURN)
    model = use_case.model.model_copy(update=changes.get("model", {}))
    lake = Lake(str(home / "data" / "lake"))
    statistics = lake.dataset("churn", "feature_statistics").require().read_json("statistics.json")
    training = {**use_case.training.model_dump(), "max_epochs": max_epochs}
    job = TrainingJob(
        shards=str(lake.dataset("churn", "tensor_shards").require().local_path()),
        output=str(home / "model"),
        checkpoints=str(home / "checkpoints"),
        model=ModelConfig(
            **model.model_dump(),
            preprocessor=PreprocessorConfig.from_statistics(
                statistics, max_vocabulary=model.max_vocabulary
            ),
        ),
        training=TrainingConfig(**training),
    )
    return job, use_case.tuning


def halving(job: Any, tuning: Any, trials: int, seed: int, home: Path) -> Search:
    """The study of `tuning_study`."""
    from pipeline_assets.tuning.study import run_study

    search, started = Search(), time.perf_counter()
    wanted = tuning.model_copy(update={"trials": trials, "time_limit": None})
    with tempfile.TemporaryDirectory(dir=home) as folder:
        run_study(
            job,
            wanted,
            seed=seed,
            folder=Path(folder),
            listener=lambda trial: search.add(
                trial.score("roc_auc"), trial.epochs, time.perf_counter() - started
            ),
        )
    search.seconds = time.perf_counter() - started
    return search


def alone(job: Any, tuning: Any, trials: int, seed: int, sampler: str, most: float) -> Search:
    """Optuna's own loop; begins no trial after `most` seconds."""
    import optuna

    from pipeline_assets.training.heartbeat import Heartbeat
    from pipeline_assets.training.parallelize import join_ranks
    from pipeline_assets.training.progress import Progress
    from pipeline_assets.training.trainer import Trainer
    from pipeline_assets.tuning.settings import decoded, with_settings
    from pipeline_assets.tuning.space import choices, distributions

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    search, started = Search(), time.perf_counter()
    known, texts = distributions(tuning.space), choices(tuning.space)
    sampler_of = {"random": optuna.samplers.RandomSampler, "optuna": optuna.samplers.TPESampler}
    study = optuna.create_study(direction="maximize", sampler=sampler_of[sampler](seed=seed))
    while search.trials < trials and search.seconds < most:
        asked = study.ask(known)
        with tempfile.TemporaryDirectory() as folder:
            proposed = dataclasses.replace(
                with_settings(job, decoded(asked.params, texts)),
                output=f"{folder}/model",
                checkpoints=f"{folder}/checkpoints",
                verify_shards=False,
            )
            Path(proposed.output).mkdir()
            silent = Progress(
                Path(folder), max_epochs=job.training.max_epochs, monitor="roc_auc", active=False
            )
            history = Trainer(proposed, join_ranks(), silent, Heartbeat()).run()
        score = max(entry["validation_roc_auc"] for entry in history)
        study.tell(asked, score)
        search.add(score, len(history), time.perf_counter() - started)
    return search


def note(search: Search) -> str:
    return f"best {search.best:.5f}, {search.trials} trials, {search.epochs} epochs"


def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=9, help="of a trial, at most")
    parser.add_argument("--seed", type=int, default=0, help="of the search")
    parser.add_argument(
        "--patience",
        type=float,
        default=2.5,
        help="end a peer after so many times the study's time",
    )
    parser.add_argument("--shipped", action="store_true", help="also the shipped model, by itself")
    parser.add_argument("--prepare", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.prepare:
        prepare(options.prepare)
        return
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        subprocess.run(
            [sys.executable, "-m", "tests.benchmarks.tuning", "--prepare", folder],
            env={**os.environ, "PIPELINE_HOME": folder, "PYTHONWARNINGS": "ignore"},
            cwd=ROOT,
            check=True,
            capture_output=True,
        )
        job, tuning = training_job(home, MLP, options.epochs)
        trials, seed = options.trials, options.seed
        table = Table(
            f"Studies of {trials} trials of at most {options.epochs} epochs, churn, perceptron"
        )
        ours = halving(job, tuning, trials, seed, home)
        table.row("tuning_study (Ray Tune, ASHA, Optuna)", ours.seconds, note=note(ours))
        print(f"{ours.seconds:.0f} s: {note(ours)}", flush=True)
        for what, sampler in (("random search", "random"), ("Optuna alone", "optuna")):
            peer = alone(job, tuning, trials, seed, sampler, options.patience * ours.seconds)
            over, best = peer.within(ours.seconds)
            ratio = peer.seconds / ours.seconds
            which = "the same trials" if peer.trials == trials else "ended"
            table.row(f"{what}, {which}", peer.seconds, ratio=ratio, note=note(peer))
            print(
                f"{what}: {peer.seconds:.0f} s: {note(peer)}; in the same time {best:.5f}",
                flush=True,
            )
            table.row(
                f"{what}, the same time", ours.seconds, note=f"best {best:.5f}, {over} trials"
            )
        if options.shipped:
            job, tuning = training_job(home, {}, options.epochs)
            shipped = halving(job, tuning, trials, seed, home)
            table.row("tuning_study, the shipped model", shipped.seconds, note=note(shipped))
        table.print(packages=PACKAGES)


if __name__ == "__main__":
    main()
