"""One rank: what is learned, kept, refused and resumed."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from pipeline_assets.shards import ShardIndex, ShardReader, load_index
from pipeline_assets.training import checkpoint_writer
from pipeline_assets.training.checkpoint import TrainingState
from pipeline_assets.training.checkpoint_writer import CheckpointWriter
from pipeline_assets.training.config import TrainingError, TrainingJob
from pipeline_assets.training.metrics import validation_scores
from pipeline_assets.training.model import load_model
from pipeline_assets.training.worker import train

TABM = "pipeline_assets.training.models.tabm:build"
pytestmark = pytest.mark.usefixtures("one_thread")


def weights(job: TrainingJob) -> bytes:
    return (Path(job.output) / "model.safetensors").read_bytes()


def roc_auc_of(job: TrainingJob) -> float:
    rows = ShardReader(job.shards, "test").arrays()
    return validation_scores(
        rows.label, load_model(job.output).predict_proba(rows.numeric, rows.categorical)
    )["roc_auc"]


@pytest.mark.parametrize(
    ("factory", "options"),
    [("pipeline_assets.training.models.mlp:build", {}), (TABM, {"members": 4, "hidden": [32]})],
)
def test_learns_and_leaves_the_artefact(make_job, factory, options) -> None:  # type: ignore[no-untyped-def]
    job = make_job(factory=factory, options=options, max_epochs=10, rows=1500)
    train(job)
    output = Path(job.output)
    assert {file.name for file in output.iterdir()} == {
        "model.safetensors", "config.json", "history.json", "metrics.jsonl",
    }  # fmt: skip
    assert roc_auc_of(job) > 0.8
    history = json.loads((output / "history.json").read_text())
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    assert [entry["epoch"] for entry in history["epochs"]] == list(range(1, len(lines) + 1))
    scores = [entry["validation_roc_auc"] for entry in history["epochs"]]
    assert history["best_score"] == max(scores) == scores[history["best_epoch"] - 1]
    assert [entry["best"] for entry in lines].count(True) == 1
    config = json.loads((output / "config.json").read_text())
    assert config["numeric"] == ["signal", "gaps", "constant", "empty"]
    assert config["shards"] == load_index(job.shards).hash
    assert str(output.parent) not in (output / "config.json").read_text()


def test_predictions_do_not_depend_on_what_else_is_asked(make_job) -> None:  # type: ignore[no-untyped-def]
    job = make_job()
    train(job)
    model = load_model(job.output)
    rows = ShardReader(job.shards, "test").arrays()
    whole = model.predict_proba(rows.numeric, rows.categorical)
    assert whole.dtype == np.float32 and whole.shape == (500,)
    assert ((whole > 0) & (whole < 1)).all()
    single = model.predict_proba(rows.numeric[7:8], rows.categorical[7:8])
    assert single[0] == pytest.approx(whole[7], abs=1e-6)
    unseen = np.full_like(rows.categorical, 987654321)
    assert np.isfinite(model.predict_proba(np.full_like(rows.numeric, np.nan), unseen)).all()


def test_same_seed_same_bytes_other_seed_other_weights(make_job) -> None:  # type: ignore[no-untyped-def]
    jobs = [make_job(seed=seed) for seed in (5, 5, 6)]
    for job in jobs:
        train(job)
    first, second, third = jobs
    for file in ("model.safetensors", "config.json", "history.json"):
        assert (Path(first.output) / file).read_bytes() == (Path(second.output) / file).read_bytes()
    assert weights(first) != weights(third)


def test_stops_early_and_keeps_the_best_epoch(make_job) -> None:  # type: ignore[no-untyped-def]
    job = make_job(max_epochs=60, patience=2, learning_rate=0.05, monitor="log_loss")
    train(job)
    history = json.loads((Path(job.output) / "history.json").read_text())
    assert len(history["epochs"]) == history["best_epoch"] + 2 < 60
    losses = [entry["validation_log_loss"] for entry in history["epochs"]]
    assert history["best_score"] == min(losses)
    # The artefact is the best epoch's, not the last's.
    rows = ShardReader(job.shards, "validation").arrays()
    probability = load_model(job.output).predict_proba(rows.numeric, rows.categorical)
    found = validation_scores(rows.label, probability)["log_loss"]
    assert found == pytest.approx(history["best_score"], abs=1e-6)


def test_class_weights_leave_probabilities_calibrated(make_job) -> None:  # type: ignore[no-untyped-def]
    job = make_job(positive_weight=9.0, rows=1500, max_epochs=6)
    train(job)
    rows = ShardReader(job.shards, "train").arrays()
    probability = load_model(job.output).predict_proba(rows.numeric, rows.categorical)
    # Left as the weighted loss shapes it, the mean would be near 0.8.
    assert probability.mean() == pytest.approx(rows.label.mean(), abs=0.06)


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_one_class_only_is_refused_before_training(make_job, label: float) -> None:  # type: ignore[no-untyped-def]
    job = make_job(label=label)
    with pytest.raises(TrainingError, match=r"all 403 rows of the train split are (nega|posi)tive"):
        train(job)
    assert not (Path(job.output) / "metrics.jsonl").exists()


@pytest.mark.parametrize("layer", ["BatchNorm1d", "SyncBatchNorm"])
def test_batch_norm_is_refused(make_job, layer: str) -> None:  # type: ignore[no-untyped-def]
    job = make_job(factory="tests.training.factories:with_layer", options={"layer": layer})
    with pytest.raises(TrainingError, match=rf"layer added is nn\.{layer}: .* Use nn\.LayerNorm"):
        train(job)


def test_dropout_that_depends_on_ranks_is_said(  # type: ignore[no-untyped-def]
    make_job, capsys: pytest.CaptureFixture[str]
) -> None:
    train(make_job(factory="tests.training.factories:with_torch_dropout", max_epochs=1))
    said = "layer dropout is nn.Dropout: what it drops depends on the number of ranks"
    assert said in capsys.readouterr().out
    train(make_job(max_epochs=1))
    assert "what it drops" not in capsys.readouterr().out


def test_statistics_of_other_features_are_refused(make_job) -> None:  # type: ignore[no-untyped-def]
    job = make_job()
    config = job.model.preprocessor
    other = dataclasses.replace(config, numeric=config.numeric[:2])
    job = dataclasses.replace(job, model=dataclasses.replace(job.model, preprocessor=other))
    with pytest.raises(TrainingError, match="statistics and shards come from different features"):
        train(job)


def test_a_loss_that_is_not_finite_names_batch_and_rows(make_job) -> None:  # type: ignore[no-untyped-def]
    job = make_job()
    folder = Path(job.shards)
    path = folder / "train/shard-00001.safetensors"
    arrays = load_file(path)
    arrays["numeric"][17, 0] = 3e38
    save_file(arrays, path)
    row_id = int(arrays["row_id"][17])
    job = dataclasses.replace(job, verify_shards=False)
    with pytest.raises(
        TrainingError,
        match=rf"epoch 1, batch \d+ \(64 rows\); worst rows: row_id {row_id} .*_row_id`: ",
    ):
        train(job)


def test_a_corrupted_shard_is_named(make_job) -> None:  # type: ignore[no-untyped-def]
    job = make_job()
    path = Path(job.shards) / "train/shard-00001.safetensors"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(Exception, match=r"shard-00001\.safetensors is corrupted"):
        train(job)


def test_coverage_is_asserted(make_job, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    job = make_job()
    batches = ShardReader.batches
    monkeypatch.setattr(
        ShardReader, "batches", lambda self, *a, **k: list(batches(self, *a, **k))[:-1]
    )
    with pytest.raises(TrainingError, match="rows were dropped or repeated"):
        train(job)


class Unplugged(BaseException):
    """Stands for a process that ends there."""


def stop_after(monkeypatch: pytest.MonkeyPatch, stop: Callable[[TrainingState], bool]) -> None:
    """Save after every epoch; end the training once a state that `stop` accepts is published."""
    submit = CheckpointWriter.submit

    def submit_then_stop(self, state, tensors) -> None:  # type: ignore[no-untyped-def]
        submit(self, state, tensors)
        self.wait()
        if stop(state):
            raise Unplugged

    monkeypatch.setattr(CheckpointWriter, "submit", submit_then_stop)
    monkeypatch.setattr(checkpoint_writer, "MOST_SHARE", 1e9)


def test_a_resumed_training_ends_with_the_same_bytes(  # type: ignore[no-untyped-def]
    make_job, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {"max_epochs": 5, "factory": TABM, "options": {"members": 2, "hidden": [16]}}
    undisturbed, job = make_job(**settings), make_job(**settings)
    train(undisturbed)
    for epochs in (2, 4):
        with monkeypatch.context() as patch, pytest.raises(Unplugged):
            stop_after(patch, lambda state, epochs=epochs: len(state.history) == epochs)
            train(job)
        assert not (Path(job.output) / "model.safetensors").exists()
    capsys.readouterr()
    train(job)
    assert "resumed after epoch 4 (28 batches done)" in capsys.readouterr().out
    for file in ("model.safetensors", "config.json", "history.json"):
        a, b = (Path(one.output) / file for one in (undisturbed, job))
        assert a.read_bytes() == b.read_bytes(), file
    # Once finished, the same job only writes its artefact again.
    before = weights(job)
    (Path(job.output) / "model.safetensors").unlink()
    train(job)
    assert weights(job) == before


def test_a_damaged_checkpoint_is_passed_over(  # type: ignore[no-untyped-def]
    make_job, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    undisturbed, job = make_job(max_epochs=4), make_job(max_epochs=4)
    train(undisturbed)
    with monkeypatch.context() as patch, pytest.raises(Unplugged):
        stop_after(patch, lambda state: len(state.history) == 3)
        train(job)
    names = json.loads((Path(job.checkpoints) / "current.json").read_text())
    assert names == ["epoch-0003", "epoch-0002"]
    newest = Path(job.checkpoints) / names[0] / "state.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1])
    train(job)
    said = capsys.readouterr().out
    assert "epoch-0003 is damaged" in said and "resumed after epoch 2" in said
    assert weights(job) == weights(undisturbed)


def test_a_checkpoint_of_another_training_is_not_continued(  # type: ignore[no-untyped-def]
    make_job, capsys: pytest.CaptureFixture[str]
) -> None:
    job = make_job(seed=1)
    train(job)
    other = dataclasses.replace(job, seed=2)
    capsys.readouterr()
    train(other)
    said = capsys.readouterr().out
    assert "belongs to another training and is passed over" in said and "starting anew" in said


def test_a_job_file_with_an_unknown_key_is_refused() -> None:
    with pytest.raises(TrainingError, match="max_epoch"):
        TrainingJob.from_dict(
            {"shards": "a", "output": "b", "checkpoints": "c", "training": {"max_epoch": 3}}
        )


def test_job_and_index_survive_json(make_job) -> None:  # type: ignore[no-untyped-def]
    job = make_job()
    assert TrainingJob.from_dict(json.loads(json.dumps(job.to_dict()))) == job
    index = load_index(job.shards)
    assert ShardIndex.from_dict(json.loads(json.dumps(index.to_dict()))) == index


def test_a_factory_is_asked_before_the_shards_are_read(
    make_job: Callable[..., TrainingJob],
) -> None:
    job = make_job(options={"dropout": 1.5})
    (Path(job.shards) / "train/shard-00000.safetensors").unlink()
    with pytest.raises(TrainingError, match=r"dropout of .* is 1\.5; expected number at least 0"):
        train(job)


def test_tiny_micro_batches_are_said(
    make_job: Callable[..., TrainingJob], capsys: pytest.CaptureFixture[str]
) -> None:
    train(make_job(rows=70, max_epochs=1, gradient_accumulation=60))
    assert "leaves micro-batches of 1.07 rows on each of 1 ranks" in capsys.readouterr().out
