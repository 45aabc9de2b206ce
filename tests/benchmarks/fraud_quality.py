"""The fraud handbook's protocol on the real card transactions: our network against XGBoost, the same features.

Four folds, training from 2018-07-25 and one, two and three weeks earlier: seven days of training, seven of
label delay, seven of test, from which cards that are known as defrauded by the day are removed. The settings
of both were chosen on earlier folds (`--earlier`), whose test days end before those of the first of the four
begin. The week before training is the network's validation split: it picks the epoch.
"""

import argparse
import datetime as dt
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

FOLDS = ("2018-07-25", "2018-07-18", "2018-07-11", "2018-07-04")
EARLIER = ("2018-06-20", "2018-06-13", "2018-06-06", "2018-05-30", "2018-05-23", "2018-05-16")
XGBOOST = {"max_depth": 3, "learning_rate": 0.03, "subsample": 0.8, "colsample_bytree": 0.8}
"""The best of eleven settings on the earlier folds, by the sum of the three metrics."""
TREES = 400
MODEL: dict[str, Any] = {
    "factory": "pipeline_assets.training.models.tabm:build",
    "options": {"members": 8, "hidden": [64, 64], "dropout": 0.1, "bins": 32},
}
TRAINING: dict[str, Any] = {
    "max_epochs": 12,
    "batch_size": 512,
    "learning_rate": 4e-3,
    "patience": 12,
    "monitor": "average_precision",
}
METRICS = ("ROC AUC", "average precision", "card precision@100")


def days(first: dt.date, count: int) -> list[str]:
    """Keys of days."""
    return [(first + dt.timedelta(days=number)).isoformat() for number in range(count)]


def prepared(folder: Path, source: Path, keys: Sequence[str]) -> Any:
    """The lake with features and shards of these days, computed unless they are there."""
    from pipeline_assets.engine import read_version, start_session
    from pipeline_assets.environments.types import EngineSettings
    from pipeline_assets.features.partitions import compute_partition_features
    from pipeline_assets.lake import Lake
    from pipeline_assets.shards import write_shards
    from pipeline_assets.spec.partitions import history_keys, history_partitions
    from tests.features.cards import publish_days

    case, lake = fraud_use_case(), Lake(str(folder))
    shards = lake.dataset("cards", "tensor_shards")
    missing = [key for key in keys if shards.current(key) is None]
    if not missing:
        return lake
    spark = start_session(EngineSettings(), "benchmark")
    read = history_keys(case.time, missing[0], history_partitions(case))
    read += [key for key in keys if key >= missing[0]]
    validated = publish_days(lake, source, sorted(set(read)))
    staged = {key: lake.dataset("cards", "features").stage(key) for key in missing}
    started = time.perf_counter()
    made = compute_partition_features(spark, missing, validated, case, staged.__getitem__)
    print(f"features of {len(missing)} days: {time.perf_counter() - started:.1f} s", flush=True)
    for key, result in made.items():
        staged[key].seal(files=result.files, rows=result.rows, schema=result.schema)
        features = staged[key].publish()
        target = shards.stage(key)
        write_shards(
            read_version(spark, features),
            numeric=case.features.numeric_names,
            categorical=[],
            staged=target,
            buckets=1,
            undivided=True,
        )
        target.seal(rows=features.rows, schema=[])
        target.publish()
    return lake


def fraud_use_case() -> Any:
    """The handbook's fifteen features, with the card carried along."""
    from tests.features.cards import use_case

    return use_case(carried=["CUSTOMER_ID"])


def one_fold(lake: Any, start: str, seed: int) -> tuple[list[float], list[float]]:
    """The three metrics of our network and of XGBoost."""
    import xgboost as xgb

    from pipeline_assets.engine import start_session
    from pipeline_assets.environments.types import EngineSettings
    from pipeline_assets.shards import PartitionShards, ShardReader, compose_index
    from pipeline_assets.statistics.compute import compute_training_set_statistics
    from pipeline_assets.training.model import load_model

    first = dt.date.fromisoformat(start)
    week = dt.timedelta(days=7)
    parts = {
        "train": days(first, 7),
        "validation": days(first - week, 7),
        "test": days(first + 2 * week, 7),
    }
    case = fraud_use_case()
    with tempfile.TemporaryDirectory() as folder:
        shards = Path(folder) / "shards"
        compose_index(
            shards,
            {
                split: [
                    PartitionShards(
                        key, lake.dataset("cards", "tensor_shards").require(key).local_path()
                    )
                    for key in keys
                ]
                for split, keys in parts.items()
            },
        )
        features = {
            split: [lake.dataset("cards", "features").require(key) for key in keys]
            for split, keys in parts.items()
        }
        spark = start_session(EngineSettings(), "benchmark")
        statistics = compute_training_set_statistics(spark, features, case).to_dict()
        output = trained(shards, statistics, Path(folder), seed)
        train, test = (ShardReader(shards, split).arrays() for split in ("train", "test"))
        booster = xgb.train(
            {**XGBOOST, "objective": "binary:logistic", "seed": seed},
            xgb.DMatrix(train.numeric, train.label),
            TREES,
        )
        ours = load_model(output).predict_proba(test.numeric, test.categorical)
        theirs = booster.predict(xgb.DMatrix(test.numeric))
        judged = kept_rows(lake, case, first, parts["test"], test.row_id)
        return judged.metrics(test.label, ours), judged.metrics(test.label, theirs)


def trained(shards: Path, statistics: dict[str, Any], folder: Path, seed: int) -> Path:
    """Train as `trained_model` does; return the model's folder."""
    from pipeline_assets.training.config import (
        ModelConfig,
        PreprocessorConfig,
        TrainingConfig,
        TrainingJob,
    )

    job = TrainingJob(
        shards=str(shards),
        output=str(folder / "model"),
        checkpoints=str(folder / "checkpoints"),
        seed=seed,
        model=ModelConfig(
            **MODEL, preprocessor=PreprocessorConfig.from_statistics(statistics, max_vocabulary=1)
        ),
        training=TrainingConfig(**TRAINING),
    )
    path = folder / "job.json"
    path.write_text(json.dumps(job.to_dict()), encoding="utf-8")
    subprocess.run(
        [sys.executable, "-m", "pipeline_assets.training.launch", str(path)],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return Path(job.output)


class KeptRows:
    """The test rows of cards not known as defrauded, with what their metrics need."""

    def __init__(self, kept: np.ndarray, day: np.ndarray, card: np.ndarray) -> None:
        """Take bool [rows], days [rows] and cards [rows]."""
        self.kept, self.day, self.card = kept, day, card

    def metrics(self, label: np.ndarray, score: np.ndarray) -> list[float]:
        """ROC AUC, average precision, card precision@100; label and score are [rows]."""
        from sklearn.metrics import average_precision_score, roc_auc_score

        from pipeline_assets.evaluation.business import ScoredRows
        from pipeline_assets.evaluation.business.card_precision import card_precision_at_k

        label, score = label[self.kept].astype(float), score[self.kept].astype(float)
        rows = ScoredRows(
            label=label,
            score=score,
            flagged=score > 0.5,
            day=self.day[self.kept],
            columns={"CUSTOMER_ID": self.card[self.kept]},
        )
        return [
            float(roc_auc_score(label, score)),
            float(average_precision_score(label, score)),
            card_precision_at_k(rows, entity="CUSTOMER_ID", k=100).value,
        ]


def kept_rows(
    lake: Any, case: Any, first: dt.date, test: list[str], row_ids: np.ndarray
) -> KeptRows:
    """Find the cards that are known as defrauded, day by day."""
    from pipeline_assets.evaluation.carried import (
        DatedFeatures,
        read_carried,
        rows_of_known_entities,
    )
    from pipeline_assets.spec.partitions import partition_bounds

    dated = {
        key: DatedFeatures(
            *partition_bounds(case.time, key), lake.dataset("cards", "features").require(key)
        )
        for key in days(first, 21)
    }
    excluded = rows_of_known_entities(
        list(dated.values()),
        [dated[key] for key in test],
        ["CUSTOMER_ID"],
        label_delay=case.time.label_delay,
    )
    along = read_carried([dated[key].version for key in test], ["CUSTOMER_ID"], timezone="UTC")
    along = along.of(row_ids)
    assert along.day is not None
    return KeptRows(~np.isin(row_ids, excluded), along.day, along.columns["CUSTOMER_ID"])


def main(arguments: list[str] | None = None) -> None:
    """Print one line per fold and the means."""
    from tests.benchmarks.report import machine, versions

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--earlier", action="store_true", help="the folds that settings are chosen on"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--lake", type=Path, default=Path(tempfile.gettempdir()) / "pipeline_assets_fraud_quality",
        help="where features and shards are kept for the next time",
    )  # fmt: skip
    options = parser.parse_args(arguments)
    source = Path(os.environ.get("PIPELINE_TEST_DATA", "../shared/data")) / "card_transactions"
    if not source.is_dir():
        print(f"skipped: no {source}; set PIPELINE_TEST_DATA")
        return
    folds = EARLIER if options.earlier else FOLDS
    begin = dt.date.fromisoformat(folds[-1]) - dt.timedelta(days=7)
    until = dt.date.fromisoformat(folds[0]) + dt.timedelta(days=21)
    lake = prepared(options.lake, source, days(begin, (until - begin).days))
    print("\nThe handbook's protocol on the real card transactions")
    print(f"{'training from':<16}{''.join(f'{name:>30}' for name in METRICS)}")
    print(f"{'':<16}{'ours      XGBoost'.rjust(30) * 3}")
    found = []
    for start in reversed(folds):
        started = time.perf_counter()
        found.append(one_fold(lake, start, options.seed))
        print(f"{line(start, *found[-1])}   {time.perf_counter() - started:.0f} s", flush=True)
    ours, theirs = np.mean(found, axis=0)
    print(line("mean", ours, theirs))
    print(
        "difference      " + "".join(f"{one - other:>+30.4f}" for one, other in zip(ours, theirs))
    )
    print(f"{machine()}\n{versions(['torch', 'xgboost-cpu', 'pysail'])}\n")


def line(title: str, ours: Sequence[float], theirs: Sequence[float]) -> str:
    """One line of the table."""
    return f"{title:<16}" + "".join(
        f"{one:>17.4f}{other:>13.4f}" for one, other in zip(ours, theirs)
    )


if __name__ == "__main__":
    main()
