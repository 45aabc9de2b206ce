"""A study on the churn shards: successive halving against random search and against Optuna alone.

All three are studies of the project with the same trials, the same space, the same processes at the same time
and the same trainer, judged by the validation ROC AUC of the best epoch; random search and Optuna alone have no
scheduler that ends trials early. A peer's row "the same time" is what it had found when the study of the same
seed was over, its row "the same trials" what all of its trials found. A peer that takes several times as long
as the study is ended, and its row says how far it came.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
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
STUDY = "tuning_study (Ray Tune, ASHA, Optuna)"
PEERS: dict[str, dict[str, Any]] = {
    "random search": {"search": "random", "scheduler": "none"},
    "Optuna alone": {"search": "optuna", "scheduler": "none"},
}


@dataclass
class Search:
    """What a way of searching found, and when."""

    trials: int = 0
    epochs: int = 0
    seconds: float = 0.0
    best: float = 0.0
    found: list[tuple[float, float]] = field(default_factory=list)
    """Seconds since the first trial began and the best score by then."""

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


def searched(job: Any, tuning: Any, seed: int, home: Path) -> Search:
    """One search, from the beginning of its first trial on: how long Ray takes to start varies."""
    from pipeline_assets.tuning.journal import Journal
    from pipeline_assets.tuning.study import run_study

    search, began = Search(), []

    def listen(trial: Any) -> None:
        began.append(trial.began)
        if trial.is_over:
            search.add(trial.score("roc_auc"), trial.epochs, time.time() - began[0])

    with tempfile.TemporaryDirectory(dir=home) as folder, Journal(Path(folder)) as journal:
        run_study(job, tuning, seed=seed, journal=journal, listener=listen)
    return search


def mean(values: Iterable[float]) -> float:
    return statistics.fmean(values)


def each(values: Iterable[float]) -> str:
    """The mean, and what it is the mean of."""
    found = list(values)
    by_seed = f" ({', '.join(f'{value:.5f}' for value in found)})" if len(found) > 1 else ""
    return f"best {mean(found):.5f}{by_seed}"


def compare(
    job: Any, tuning: Any, seeds: list[int], patience: float, home: Path, table: Table
) -> None:
    """Add the rows of all searches."""
    runs: dict[str, list[Search]] = {name: [] for name in (STUDY, *PEERS)}
    for at, seed in enumerate(seeds):
        for name in runs:
            changes = PEERS.get(name, {})
            if name != STUDY:
                longest = timedelta(seconds=patience * runs[STUDY][at].seconds)
                changes = {**changes, "time_limit": longest}
            search = searched(job, tuning.model_copy(update=changes), seed, home)
            runs[name].append(search)
            _, then = search.within(runs[STUDY][at].seconds)
            print(
                f"seed {seed}, {name}: {search.seconds:.0f} s, {search.trials} trials, "
                f"{search.epochs} epochs, best {search.best:.5f}; when the study was over {then:.5f}",
                flush=True,
            )
    ours = runs.pop(STUDY)
    seconds = mean(search.seconds for search in ours)
    table.row(STUDY, seconds, note=f"{each(s.best for s in ours)}, {epochs_of(ours)}")
    for name, found in runs.items():
        ended = min(search.trials for search in found) < tuning.trials
        own = mean(search.seconds for search in found)
        table.row(
            f"{name}, {'ended' if ended else 'the same trials'}",
            own,
            ratio=own / seconds,
            note=f"{each(s.best for s in found)}, {epochs_of(found)}",
        )
        then = [search.within(study.seconds) for search, study in zip(found, ours)]
        trials = mean(number for number, _ in then)
        table.row(
            f"{name}, the same time",
            seconds,
            note=f"{each(best for _, best in then)}, {trials:.0f} trials",
        )


def epochs_of(searches: list[Search]) -> str:
    trials = mean(search.trials for search in searches)
    return f"{trials:.0f} trials, {mean(search.epochs for search in searches):.0f} epochs"


def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=9, help="of a trial, at most")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of the searches")
    parser.add_argument(
        "--patience",
        type=float,
        default=4.0,
        help="end a peer after so many times the study's time",
    )
    parser.add_argument(
        "--shipped", action="store_true", help="the shipped model instead of a perceptron"
    )
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
        job, tuning = training_job(home, {} if options.shipped else MLP, options.epochs)
        tuning = tuning.model_copy(update={"trials": options.trials, "time_limit": None})
        model = "the shipped model" if options.shipped else "perceptron"
        table = Table(
            f"Studies of {options.trials} trials of at most {options.epochs} epochs, churn, {model}"
        )
        compare(job, tuning, options.seeds, options.patience, home, table)
        table.print(packages=PACKAGES)


if __name__ == "__main__":
    main()
