"""Multi-class, multi-label and regression: learned, kept, refused."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline_assets.shards import ShardIndex, ShardReader, load_index, write_shard
from pipeline_assets.training import tasks
from pipeline_assets.training.config import ModelConfig, TrainingConfig, TrainingError, TrainingJob
from pipeline_assets.training.heartbeat import Heartbeat
from pipeline_assets.training.metrics import validation_scores
from pipeline_assets.training.model import TabularModel, load_model
from pipeline_assets.training.parallelize import join_ranks
from pipeline_assets.training.progress import Progress
from pipeline_assets.training.tasks import TargetScale, check_task, monitors_of
from pipeline_assets.training.trainer import Trainer
from pipeline_assets.training.worker import train

RESNET = "pipeline_assets.training.models.resnet:build"
TABM = "pipeline_assets.training.models.tabm:build"
pytestmark = pytest.mark.usefixtures("one_thread")


def with_labels(
    job: TrainingJob,
    label_of: Callable[[np.ndarray, np.random.Generator], np.ndarray],
    labels: tuple[str, ...] = (),
) -> TrainingJob:
    """Give the job's shards other labels, from the signal [n] and noise."""
    folder, rng = Path(job.shards), np.random.default_rng(7)
    index = load_index(folder)
    shards = []
    for split in ("train", "validation", "test"):
        rows = ShardReader(folder, split).arrays()
        file = f"{split}/relabelled.safetensors"
        shards.append(
            write_shard(
                str(folder / file),
                numeric=rows.numeric,
                categorical=rows.categorical,
                label=label_of(rows.numeric[:, 0], rng),
                row_id=rows.row_id,
                file=file,
                split=split,
            )
        )
    index = dataclasses.replace(index, shards=tuple(shards), labels=labels)
    (folder / "index.json").write_text(json.dumps(index.to_dict()))
    return job


def of_task(job: TrainingJob, **model: Any) -> TrainingJob:
    return dataclasses.replace(job, model=dataclasses.replace(job.model, **model))


def scores_on_test(job: TrainingJob) -> dict[str, float]:
    rows = ShardReader(job.shards, "test").arrays()
    predicted = load_model(job.output).predict(rows.numeric, rows.categorical)
    assert predicted.shape == (len(rows.label), *job.model.output_shape)
    return validation_scores(rows.label, predicted, job.model)


def classes(signal: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.digitize(signal + 0.3 * rng.normal(size=len(signal)), [-0.5, 0.5])


def test_multi_class(make_job) -> None:  # type: ignore[no-untyped-def]
    options = {"members": 4, "hidden": [32]}
    job = make_job(factory=TABM, options=options, rows=1500, max_epochs=8, monitor="accuracy")
    job = of_task(with_labels(job, classes), task="multiclass", classes=3)
    train(job)
    assert scores_on_test(job)["accuracy"] > 0.75  # the most frequent class: 0.38
    rows = ShardReader(job.shards, "test").arrays()
    probability = load_model(job.output).predict_proba(rows.numeric, rows.categorical)
    np.testing.assert_allclose(probability.sum(axis=1), 1, atol=1e-5)


def test_multi_label(make_job) -> None:  # type: ignore[no-untyped-def]
    def labels(signal: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        noise = rng.normal(size=(len(signal), 2)) * 0.3
        return np.stack([signal, -signal], axis=1) + noise > 0.5

    job = make_job(factory=RESNET, options={"width": 32, "blocks": 1}, rows=1500, max_epochs=5)
    job = with_labels(job, labels, labels=("high", "low"))
    assert load_index(job.shards).labels == ("high", "low")
    job = of_task(job, task="multilabel", classes=2)
    train(job)
    assert scores_on_test(job)["roc_auc"] > 0.9
    with pytest.raises(TrainingError, match=r"shape \[2\], a multilabel task with 3 classes needs"):
        train(of_task(job, task="multilabel", classes=3))


def rare_labels(signal: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A label with one positive row in ten, and one with every second."""
    noise = rng.normal(size=(len(signal), 2)) * 0.3
    return np.stack([signal, signal], axis=1) + noise > (1.35, 0)


def test_labels_are_weighed_each_by_its_own_balance(make_job) -> None:  # type: ignore[no-untyped-def]
    job = make_job(rows=1500, max_epochs=6, positive_weight="balanced")
    job = of_task(
        with_labels(job, rare_labels, labels=("rare", "even")), task="multilabel", classes=2
    )
    train(job)
    rows = ShardReader(job.shards, "train").arrays()
    share = rows.label.mean(axis=0)
    weights = json.loads((Path(job.output) / "config.json").read_text())["positive_weight"]
    np.testing.assert_allclose(weights, (1 - share) / share, rtol=1e-6)
    probability = load_model(job.output).predict_proba(rows.numeric, rows.categorical)
    # Left as the weighted loss shapes them, the mean of the first would be near 0.25.
    np.testing.assert_allclose(probability.mean(axis=0), share, atol=0.06)
    never = make_job(positive_weight="balanced")
    never = with_labels(never, lambda s, r: np.stack([s > 0, s > 9], 1), labels=("even", "never"))
    with pytest.raises(TrainingError, match="403 training rows are negative for label 1"):
        train(of_task(never, task="multilabel", classes=2))


def amounts(signal: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Mean 5000 and standard deviation 224, 100 of which is noise."""
    return 5000 + 200 * signal + 100 * rng.normal(size=len(signal))


@pytest.mark.parametrize("loss", ["mse", "huber"])
def test_regression(make_job, loss: str) -> None:  # type: ignore[no-untyped-def]
    job = make_job(rows=1500, max_epochs=10, monitor="rmse", loss=loss)
    job = of_task(with_labels(job, amounts), task="regression")
    train(job)
    assert scores_on_test(job)["rmse"] < 125
    rows = ShardReader(job.shards, "test").arrays()
    with pytest.raises(TrainingError, match="call predict"):
        load_model(job.output).predict_proba(rows.numeric, rows.categorical)


def test_quantiles_cover_and_never_cross(make_job) -> None:  # type: ignore[no-untyped-def]
    options = {"numeric_embedding": "piecewise_linear"}
    job = make_job(rows=3000, max_epochs=10, monitor="pinball", options=options)
    job = of_task(with_labels(job, amounts), task="regression", quantiles=(0.1, 0.5, 0.9))
    train(job)
    rows = ShardReader(job.shards, "test").arrays()
    predicted = load_model(job.output).predict(rows.numeric, rows.categorical)
    assert (np.diff(predicted, axis=1) >= 0).all()
    covered = (rows.label[:, None] < predicted).mean(axis=0)
    # 500 rows: three standard errors are 0.04 to 0.07; the rest is what training leaves.
    np.testing.assert_allclose(covered, (0.1, 0.5, 0.9), atol=0.08)


def test_quantiles_that_cross_are_sorted_and_members_averaged_before() -> None:
    class Crossing(torch.nn.Module):
        def forward(self, numeric: torch.Tensor, categorical: torch.Tensor) -> torch.Tensor:
            return torch.tensor([[[3.0, 0.0], [-1.0, 0.5]]])  # [1, members, quantiles]

    config = ModelConfig(task="regression", quantiles=(0.2, 0.8))
    model = TabularModel(Crossing(), config, target=TargetScale(mean=10.0, std=2.0))
    predicted = model.predict(np.zeros((1, 1)), np.zeros((1, 0)))
    np.testing.assert_allclose(predicted, [[10.5, 12.0]])


@pytest.mark.parametrize(
    ("model", "training", "message"),
    [
        ({"task": "ranking"}, {}, "'ranking' is unknown; known: binary, multiclass"),
        ({"task": "multiclass", "classes": 1}, {}, "a multiclass label has at least 2"),
        ({"quantiles": (0.5,)}, {}, "for a regression, not a binary label"),
        ({"task": "regression", "quantiles": (0.5, 0.1)}, {}, "must ascend, between 0 and 1"),
        ({"task": "regression", "quantiles": (0.5, 1.0)}, {}, "must ascend, between 0 and 1"),
        ({"task": "multiclass"}, {"monitor": "roc_auc"}, "fitting: log_loss, accuracy"),
        ({"task": "regression"}, {"loss": "focal"}, "fitting: auto, mse, huber"),
        ({"task": "regression", "quantiles": (0.5,)}, {"loss": "mse"}, "with quantiles; fitting"),
        ({"task": "multiclass"}, {"positive_weight": "balanced"}, "positive rows of a binary"),
        ({"task": "multilabel"}, {"positive_weight": 2.0, "loss": "focal"}, "see its option alpha"),
        ({}, {"positive_weight": 2.0, "loss": "focal"}, "see its option alpha"),
    ],
)
def test_settings_that_do_not_fit_the_task(
    model: dict[str, Any], training: dict[str, Any], message: str
) -> None:
    config = ModelConfig(**model)
    if "monitor" not in training and config.task in ("multiclass", "regression"):
        training = {"monitor": monitors_of(config)[0], **training}
    with pytest.raises(TrainingError, match=message):
        check_task(config, TrainingConfig(**training))


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (
            lambda s, r: np.where(s > 2, 3.0, s > 0),
            r"label 3\.0 of row_id -?\d+ of the train split",
        ),
        (lambda s, r: np.where(s > 2, 0.5, s > 0), "is no integer from 0 to 2"),
        (lambda s, r: np.full(len(s), 2), "all rows of the train split are of class 2"),
    ],
)
def test_labels_that_are_no_classes(make_job, label, message: str) -> None:  # type: ignore[no-untyped-def]
    job = with_labels(make_job(monitor="log_loss"), label)
    with pytest.raises(TrainingError, match=message):
        train(of_task(job, task="multiclass", classes=3))


def test_labels_that_do_not_vary(make_job) -> None:  # type: ignore[no-untyped-def]
    job = with_labels(make_job(monitor="mae"), lambda s, r: np.full(len(s), 3.5))
    with pytest.raises(TrainingError, match=r"all labels of the train split are 3\.5"):
        train(of_task(job, task="regression"))


def test_a_binary_model_does_not_read_several_labels(make_job) -> None:  # type: ignore[no-untyped-def]
    job = with_labels(make_job(), lambda s, r: np.stack([s > 0, s < 0], axis=1))
    with pytest.raises(Exception, match="the index says"):
        train(job)
    index = load_index(job.shards)
    assert ShardIndex.from_dict(json.loads(json.dumps(index.to_dict()))) == index


@pytest.mark.parametrize(
    ("label_of", "model", "passes"),
    [
        (amounts, {"task": "regression"}, 1),
        (classes, {"task": "multiclass", "classes": 3}, 2),
    ],
)
def test_a_rank_is_alive_while_it_reads_all_labels(  # type: ignore[no-untyped-def]
    make_job, monkeypatch: pytest.MonkeyPatch, label_of: Any, model: dict[str, Any], passes: int
) -> None:
    monkeypatch.setattr(tasks, "_BLOCK_ROWS", 10)
    beats = []

    class Counting(Heartbeat):
        def alive(self) -> None:
            beats.append(1)

    monitor = "rmse" if model["task"] == "regression" else "accuracy"
    job = of_task(with_labels(make_job(rows=400, monitor=monitor), label_of), **model)
    job = dataclasses.replace(job, verify_shards=False)
    with Progress(Path(job.output), max_epochs=1, monitor=monitor, writes=False) as progress:
        trainer = Trainer(job, join_ranks(), progress, Counting())
    assert len(beats) >= (trainer.train.rows + (passes - 1) * trainer.validation.rows) // 10
