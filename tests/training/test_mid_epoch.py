"""One rank: interrupted in mid-epoch, losses that are not finite, damaged shards."""

import dataclasses
import json
import os
import re
import shutil
import socket
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file, save_file

from pipeline_assets.shards import ShardError
from pipeline_assets.training import checkpoint_writer
from pipeline_assets.training.checkpoint import POINTER, TrainingState
from pipeline_assets.training.checkpoint_writer import CheckpointWriter
from pipeline_assets.training.config import TrainingError, TrainingJob
from pipeline_assets.training.damaged_shards import find_damaged
from pipeline_assets.training.heartbeat import Heartbeat
from pipeline_assets.training.parallelize import join_ranks
from pipeline_assets.training.worker import train
from tests.training.files import damage_unseen

pytestmark = pytest.mark.usefixtures("one_thread")


class Unplugged(BaseException):
    """Stands for a process that ends there."""


def stop_at(monkeypatch: pytest.MonkeyPatch, stop: Callable[[TrainingState], bool]) -> None:
    """Save after every batch; end the training once a state that `stop` accepts is published."""
    submit = CheckpointWriter.submit

    def submit_then_stop(self, state, tensors) -> None:  # type: ignore[no-untyped-def]
        submit(self, state, tensors)
        self.wait()
        if stop(state):
            raise Unplugged

    monkeypatch.setattr(CheckpointWriter, "submit", submit_then_stop)
    monkeypatch.setattr(checkpoint_writer, "MOST_SHARE", 1e9)


def assert_same(one: TrainingJob, other: TrainingJob) -> None:
    """Weights, history and configuration, all but when checkpoints are taken."""
    for file in ("model.safetensors", "history.json"):
        a, b = ((Path(job.output) / file).read_bytes() for job in (one, other))
        assert a == b, file
    configs = [json.loads((Path(job.output) / "config.json").read_text()) for job in (one, other)]
    for config in configs:
        del config["training"]["checkpoint_seconds"]
    assert configs[0] == configs[1]


def spoil_a_row(job: TrainingJob) -> tuple[TrainingJob, int]:
    """Make one training value overflow float32 on its way through the network."""
    path = Path(job.shards) / "train/shard-00001.safetensors"
    arrays = load_file(path)
    arrays["numeric"][17, 0] = 3e38
    save_file(arrays, path)
    return dataclasses.replace(job, verify_shards=False), int(arrays["row_id"][17])


@pytest.mark.parametrize(
    ("factory", "more"),
    [
        ("mlp", {}),
        ("tabm", {}),
        ("mlp", {"precision": "bfloat16"}),
        ("resnet", {"gradient_accumulation": 3}),
    ],
)
def test_interrupted_in_mid_epoch_ends_with_the_same_bytes(  # type: ignore[no-untyped-def]
    make_job,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    factory: str,
    more: dict[str, Any],
) -> None:
    width = {"width": 16} if factory == "resnet" else {"hidden": [16]}
    settings = {
        **more,
        "factory": f"pipeline_assets.training.models.{factory}:build",
        "options": {**width, "dropout": 0.3},
        "max_epochs": 4, "patience": 2, "batch_size": 32, "learning_rate": 0.03,
    }  # fmt: skip
    undisturbed = make_job(**settings)
    train(undisturbed)
    job = make_job(**settings, checkpoint_seconds=0)
    # 13 batches an epoch; after the first, in the middle, before the last, and at the end of one.
    for position in (1, 6, 12, 13, 20, 38):
        with monkeypatch.context() as patch, pytest.raises(Unplugged):
            stop_at(patch, lambda state, at=position: state.position == at)
            train(job)
    capsys.readouterr()
    train(job)
    assert "resumed in epoch 3 (38 batches done)" in capsys.readouterr().out
    assert_same(undisturbed, job)


def test_generators_of_torch_go_on_as_well(  # type: ignore[no-untyped-def]
    make_job, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"factory": "tests.training.factories:with_torch_dropout", "max_epochs": 2}
    undisturbed, job = make_job(**settings), make_job(**settings, checkpoint_seconds=0)
    train(undisturbed)
    with monkeypatch.context() as patch, pytest.raises(Unplugged):
        stop_at(patch, lambda state: state.position == 10)
        train(job)
    train(job)
    assert_same(undisturbed, job)


def test_training_goes_on_while_a_checkpoint_is_written(  # type: ignore[no-untyped-def]
    make_job, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job(max_epochs=1, batch_size=8, checkpoint_seconds=0)
    running, most = [], []
    positions: list[int] = []
    write = checkpoint_writer.write_checkpoint

    def slow(folder, state, name, tensors) -> None:  # type: ignore[no-untyped-def]
        running.append(name)
        most.append(len(running))
        positions.append(state["position"])
        time.sleep(0.03)
        write(folder, state, name, tensors)
        running.remove(name)

    monkeypatch.setattr(checkpoint_writer, "write_checkpoint", slow)
    monkeypatch.setattr(checkpoint_writer, "MOST_SHARE", 1e9)
    train(job)
    assert max(most) == 1 and not running
    # Batches pass meanwhile, and the last state is complete before the training ends.
    assert len(positions) > 1 and max(b - a for a, b in pairwise(positions)) > 1
    names = json.loads((Path(job.checkpoints) / POINTER).read_text())
    assert names[0] == "epoch-0001"
    state = json.loads((Path(job.checkpoints) / names[0] / "state.json").read_text())
    assert state["position"] == positions[-1] == 51
    line = json.loads((Path(job.output) / "metrics.jsonl").read_text())
    assert 0 < line["checkpoint_share"] < 0.5


def test_a_score_that_is_no_number_is_an_error(make_job) -> None:  # type: ignore[no-untyped-def]
    job = make_job(factory="tests.training.factories:undefined")
    with pytest.raises(TrainingError, match="log_loss of epoch 1 is not a finite number"):
        train(job)


def test_what_a_killed_process_was_writing_is_removed(make_job) -> None:  # type: ignore[no-untyped-def]
    job = make_job(max_epochs=1)
    half = Path(job.checkpoints) / ".epoch-0007.4711"
    half.mkdir(parents=True)
    (half / "state.safetensors").write_bytes(b"half")
    (Path(job.checkpoints) / ".current.json.4711").write_bytes(b"[")
    train(job)
    assert sorted(path.name for path in Path(job.checkpoints).iterdir()) == [
        "current.json", "epoch-0001", "lock.json", f"verified-0@{socket.gethostname()}.json",
    ]  # fmt: skip


def test_reloads_lower_the_rate_and_end_at_the_limit(  # type: ignore[no-untyped-def]
    make_job, capsys: pytest.CaptureFixture[str]
) -> None:
    job, row_id = spoil_a_row(make_job(on_not_finite="reload", max_reloads=2))
    with pytest.raises(TrainingError, match=rf"row_id {row_id} .* after 2 reloads"):
        train(job)
    said = re.findall(
        rf"row_id {row_id} .*; going on from the start with the learning rate times (\S+) "
        r"\(reload (\d) of at most 2\)",
        capsys.readouterr().out,
    )
    assert said == [("0.5", "1"), ("0.25", "2")]


def test_a_reload_goes_back_to_the_last_epoch_and_survives_an_interruption(  # type: ignore[no-untyped-def]
    make_job, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # The rate grows for 18 of 21 steps; what it has reached in the second epoch is too much.
    settings = {
        "factory": "tests.training.factories:overflowing", "options": {"furthest": 3e-3},
        "warmup_share": 0.9, "on_not_finite": "reload", "reload_rate_factor": 0.1,
    }  # fmt: skip
    undisturbed = make_job(**settings)
    train(undisturbed)
    assert "going on from the end of epoch 1 with the learning rate times 0.1" in (
        capsys.readouterr().out
    )
    history = json.loads((Path(undisturbed.output) / "history.json").read_text())
    (reload,) = history["reloads"]
    assert (reload["epoch"], reload["batch"]) == (2, 4) and len(reload["row_ids"]) == 5
    rates = [entry["learning_rate"] for entry in history["epochs"]]
    assert rates[1] == pytest.approx(0.1 * 2 * rates[0])  # twice as far into the warm-up

    job = make_job(**settings, checkpoint_seconds=0)
    for stop in (
        lambda state: state.position == 9 and not state.reloads,
        lambda state: state.position == 10 and len(state.reloads) == 1,
    ):
        with monkeypatch.context() as patch, pytest.raises(Unplugged):
            stop_at(patch, stop)
            train(job)
    train(job)
    assert_same(undisturbed, job)


def test_damaged_shards_are_left_out_and_counted(  # type: ignore[no-untyped-def]
    make_job, capsys: pytest.CaptureFixture[str]
) -> None:
    job = make_job(on_damaged_shard="skip", positive_weight="balanced")
    path = Path(job.shards) / "train/shard-00001.safetensors"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    (Path(job.shards) / "validation/shard-00000.safetensors").unlink()
    train(job)
    said = capsys.readouterr().out
    assert re.search(r"left out: shard .*train/shard-00001\.safetensors is corrupted", said)
    assert re.search(r"left out: shard .*validation/shard-00000\.safetensors is missing", said)
    assert "1 damaged shard(s) of the train split are left out, with 201 of its 403 rows" in said
    gone = [
        {"file": "train/shard-00001.safetensors", "split": "train", "rows": 201},
        {"file": "validation/shard-00000.safetensors", "split": "validation", "rows": 76},
    ]
    for file in ("config.json", "history.json"):
        content = json.loads((Path(job.output) / file).read_text())
        assert content["left_out_shards"] == gone
    assert json.loads((Path(job.output) / "config.json").read_text())["train_rows"] == 202


def written_to(path: Path, job: TrainingJob) -> TrainingJob:
    os.utime(path)
    return job


def replaced_by_a_copy(path: Path, job: TrainingJob) -> TrainingJob:
    shutil.copy2(path, path.with_name("copy")).replace(path)
    return job


def of_another_training(path: Path, job: TrainingJob) -> TrainingJob:
    return dataclasses.replace(job, checkpoints=f"{job.checkpoints}-2")


@pytest.mark.parametrize("change", [written_to, replaced_by_a_copy, of_another_training])
@pytest.mark.parametrize("policy", ["fail", "skip"])
def test_a_restart_hashes_only_files_that_have_changed(  # type: ignore[no-untyped-def]
    make_job, policy: str, change: Callable[[Path, TrainingJob], TrainingJob]
) -> None:
    job = make_job(on_damaged_shard=policy)
    path = Path(job.shards) / "train/shard-00001.safetensors"
    ranks = join_ranks()
    assert find_damaged(job, ranks, Heartbeat()).shards == ()
    damage_unseen(path)
    assert find_damaged(job, ranks, Heartbeat()).shards == ()
    job = change(path, job)
    if policy == "skip":
        assert find_damaged(job, ranks, Heartbeat()).files == {"train/shard-00001.safetensors"}
    else:
        with pytest.raises(ShardError, match=r"shard-00001\.safetensors is corrupted"):
            find_damaged(job, ranks, Heartbeat())


def test_a_checkpoint_from_before_the_damage_is_not_continued(  # type: ignore[no-untyped-def]
    make_job, capsys: pytest.CaptureFixture[str]
) -> None:
    job = make_job(on_damaged_shard="skip")
    train(job)
    (Path(job.shards) / "train/shard-00000.safetensors").write_bytes(b"")
    train(job)
    said = capsys.readouterr().out
    assert "belongs to another training and is passed over" in said and "starting anew" in said


def test_without_any_whole_shard_there_is_nothing_to_train(make_job) -> None:  # type: ignore[no-untyped-def]
    job = make_job(on_damaged_shard="skip")
    for path in Path(job.shards).glob("train/*"):
        path.unlink()
    with pytest.raises(TrainingError, match="the train split has no rows"):
        train(job)
