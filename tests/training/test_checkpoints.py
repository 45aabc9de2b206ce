"""Checkpoints: what they may cost, whom their folder belongs to, killed while written, damaged."""

import json
import shutil
import signal
import socket
import threading
import time
import tracemalloc
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest
import torch
from torch import nn

from pipeline_assets.training import checkpoint_lock, checkpoint_writer
from pipeline_assets.training.checkpoint import (
    POINTER,
    TENSORS,
    TrainingState,
    snapshot,
    write_checkpoint,
)
from pipeline_assets.training.checkpoint_lock import LOCK
from pipeline_assets.training.checkpoint_reader import load_checkpoint, restore
from pipeline_assets.training.config import TrainingError, TrainingJob
from pipeline_assets.training.heartbeat import Heartbeat
from pipeline_assets.training.parallelize import Ranks
from pipeline_assets.training.progress import Progress
from pipeline_assets.training.reason import ERROR_FILE
from pipeline_assets.training.resuming import resume
from pipeline_assets.training.worker import train
from tests.training import dying

pytestmark = pytest.mark.usefixtures("one_thread")
HALF = ("its tensors are written", "before it appears")
FILES = ("model.safetensors", "config.json", "history.json")


def published(job: TrainingJob) -> list[str]:
    path = Path(job.checkpoints) / POINTER
    return json.loads(path.read_text()) if path.exists() else []


def ends(process: ForkServerProcess) -> int | None:
    process.join(60)
    return process.exitcode


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the checkpoints that are written, in their order."""
    names: list[str] = []
    write = checkpoint_writer.write_checkpoint

    def noting(folder, state, name, tensors) -> None:  # type: ignore[no-untyped-def]
        names.append(name)
        write(folder, state, name, tensors)

    monkeypatch.setattr(checkpoint_writer, "write_checkpoint", noting)
    return names


def test_epochs_do_not_wait_for_a_slow_disk(  # type: ignore[no-untyped-def]
    make_job, written: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    far, write, end_epoch = (
        threading.Event(),
        checkpoint_writer.write_checkpoint,
        Progress.end_epoch,
    )

    def slow(folder, state, name, tensors) -> None:  # type: ignore[no-untyped-def]
        assert far.wait(10), "the training waits for its first checkpoint"
        write(folder, state, name, tensors)

    def note(self, history) -> None:  # type: ignore[no-untyped-def]
        if len(history) == 9:
            far.set()
        end_epoch(self, history)

    monkeypatch.setattr(checkpoint_writer, "write_checkpoint", slow)
    monkeypatch.setattr(checkpoint_writer, "MOST_SHARE", 1e9)
    monkeypatch.setattr(Progress, "end_epoch", note)
    job = make_job(max_epochs=12, patience=12)
    train(job)
    assert written[0] == "epoch-0001" and written[-1] == "epoch-0012"
    assert set(written) <= {"epoch-0001", *(f"epoch-{n:04d}" for n in range(9, 13))}


def test_ends_of_epochs_have_a_bound_as_well(  # type: ignore[no-untyped-def]
    make_job, written: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whatever the first one is expected to cost, or has cost, is too much for ever.
    monkeypatch.setattr(checkpoint_writer, "MOST_SHARE", 1e-9)
    train(make_job(max_epochs=5, patience=5))
    assert written == ["epoch-0005"], "the last one is saved all the same"
    written.clear()
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint_writer, "SECONDS_PER_BYTE", 0)
        train(make_job(max_epochs=5, patience=5))
    assert written == ["epoch-0001", "epoch-0005"]
    # A reload must find the same state in every run.
    written.clear()
    train(make_job(max_epochs=5, patience=5, on_not_finite="reload"))
    assert written == [f"epoch-{n:04d}" for n in range(6)]


class Counting(Heartbeat):
    """Counts signs of life."""

    count = 0

    def alive(self) -> None:
        self.count += 1


@pytest.mark.parametrize("hangs", [False, True])
def test_waiting_for_the_last_checkpoint_is_a_sign_of_life_unless_it_hangs(  # type: ignore[no-untyped-def]
    make_job, monkeypatch: pytest.MonkeyPatch, hangs: bool
) -> None:
    if hangs:
        monkeypatch.setattr(checkpoint_writer, "PATIENCE_SECONDS", 0.0)
    heartbeat, during = Counting(), []
    write = checkpoint_writer.write_checkpoint

    def slow(folder, state, name, tensors) -> None:  # type: ignore[no-untyped-def]
        before = heartbeat.count
        time.sleep(1.6)
        during.append(heartbeat.count - before)
        write(folder, state, name, tensors)

    monkeypatch.setattr(checkpoint_writer, "write_checkpoint", slow)
    train(make_job(max_epochs=1), heartbeat)
    assert len(during) == 1 and (during[0] == 0) == hangs


def test_reading_takes_little_memory_and_keeps_nothing_of_the_file(tmp_path: Path) -> None:
    def parts() -> tuple[nn.Module, torch.optim.AdamW]:
        network = nn.Linear(1024, 1024)
        return network, torch.optim.AdamW(network.parameters(), fused=True)

    network, optimizer = parts()
    network(torch.ones(3, 1024)).sum().backward()
    optimizer.step()
    saved = snapshot(network, optimizer, network.state_dict(), keep=True)
    state = TrainingState(fingerprint="f", position=7)
    write_checkpoint(tmp_path, vars(state), "epoch-0001", saved)

    signs: list[int] = []
    tracemalloc.start()
    found, content, notes = load_checkpoint(tmp_path, "f", on_progress=lambda: signs.append(1))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == state and notes == []
    assert content.stat().st_size > 16e6 > 3 * peak and len(signs) >= 4

    network, optimizer = parts()
    best = restore(content, network, optimizer)
    # Another process may remove or lose the file: nothing may be a view of it.
    with content.open("r+b") as file:
        file.write(bytes(content.stat().st_size))
    again = snapshot(network, optimizer, best, keep=True)
    assert again.keys() == saved.keys()
    assert all(torch.equal(again[name], saved[name]) for name in saved)


def test_a_damaged_checkpoint_takes_no_place_of_a_usable_one(tmp_path: Path) -> None:
    network = nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(network.parameters())

    def write(epochs: int, rows: int = 0) -> str:
        state = TrainingState(fingerprint="f", history=[{}] * epochs, epoch_rows=rows)
        write_checkpoint(
            tmp_path, vars(state), state.name, snapshot(network, optimizer, {}, keep=True)
        )
        return state.name

    usable, damaged = write(1), write(2)
    (tmp_path / damaged / TENSORS).write_bytes(b"")
    ranks = Ranks(rank=0, world_size=1, device=torch.device("cpu"))
    progress = Progress(tmp_path, max_epochs=1, monitor="roc_auc", writes=False)
    assert resume(tmp_path, "f", network, optimizer, ranks, progress, Heartbeat()) is not None
    newest = write(1, rows=3)
    # Without a usable end of an epoch there would be nothing to reload.
    assert json.loads((tmp_path / POINTER).read_text()) == [newest, usable]


def slow_job(make_job: Callable[..., TrainingJob]) -> TrainingJob:
    return make_job(
        factory="tests.training.factories:slow", options={"rank": 0, "seconds": 0.15}, max_epochs=2
    )


def trains(process: ForkServerProcess, job: TrainingJob) -> None:
    """Return once the process has the checkpoints."""
    deadline = time.monotonic() + 60
    path = Path(job.checkpoints) / LOCK
    while not (path.exists() and path.read_bytes().endswith(b"}\n")):
        assert process.is_alive() and time.monotonic() < deadline
        time.sleep(0.02)


def test_a_second_training_is_refused_and_disturbs_nothing(  # type: ignore[no-untyped-def]
    make_job, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = slow_job(make_job)
    first = dying.start(job)
    trains(first, job)
    monkeypatch.setattr(checkpoint_lock, "WAIT_SECONDS", 0.3)
    half = Path(job.checkpoints) / ".epoch-0009"
    half.mkdir()
    with pytest.raises(
        TrainingError,
        match=rf"another training has .*: process {first.pid} on {socket.gethostname()} trains there since 20",
    ):
        train(job)
    assert half.exists(), "it may be what the first one is writing"
    assert first.is_alive() and ends(first) == 0
    train(job)
    assert not half.exists()


def test_a_retry_waits_until_a_killed_training_is_gone(  # type: ignore[no-untyped-def]
    make_job, capsys: pytest.CaptureFixture[str]
) -> None:
    job = slow_job(make_job)
    first = dying.start(job)
    trains(first, job)
    threading.Timer(0.5, first.kill).start()
    train(job)
    said = capsys.readouterr().out
    assert said.count("waiting for the checkpoints") == 1
    assert ends(first) == -signal.SIGKILL and "epoch 2/2" in said


def test_killed_at_every_moment_of_writing_a_checkpoint(make_job) -> None:  # type: ignore[no-untyped-def]
    settings = {"max_epochs": 3, "patience": 3, "options": {"hidden": [96, 96]}}
    undisturbed, job = make_job(**settings), make_job(**settings, checkpoint_seconds=0)
    train(undisturbed)
    folder, position = Path(job.checkpoints), 0
    for moment, what, number in [
        ("it begins", "kill", signal.SIGKILL),
        ("it begins", "kill in tensors", signal.SIGXFSZ),
        *((moment, "kill", signal.SIGKILL) for moment in dying.MOMENTS if moment != "it begins"),
    ]:
        process = dying.start(job, moment, what, after=2)
        assert ends(process) == -number, moment
        names = published(job)
        state = json.loads((folder / names[0] / "state.json").read_text())
        found, _, notes = load_checkpoint(folder, state["fingerprint"])
        assert found is not None and notes == [], moment
        assert found.position > position, "it went on from where the one before has ended"
        position = found.position
        half_written = moment in HALF or what == "kill in tensors"
        assert bool(list(folder.glob(".epoch*"))) == half_written, moment
    assert ends(dying.start(job)) == 0
    for name in FILES[::2]:
        a, b = (Path(one.output) / name for one in (undisturbed, job))
        assert a.read_bytes() == b.read_bytes(), name
    assert {path.name for path in folder.iterdir() if path.is_dir()} == set(published(job))
    assert not list(folder.glob(".*"))


def test_a_disk_that_fills_up_leaves_the_checkpoint_before(make_job) -> None:  # type: ignore[no-untyped-def]
    settings = {"max_epochs": 3, "patience": 3, "options": {"hidden": [96, 96]}}
    undisturbed, job = make_job(**settings), make_job(**settings)
    train(undisturbed)
    # The kernel refuses what goes beyond a limit on the size of files.
    assert ends(dying.start(job, "it begins", "full disk", after=1)) == 1
    said = (Path(job.output) / ERROR_FILE).read_text()
    assert f"a checkpoint could not be written to {job.checkpoints}" in said
    assert "File too large" in said and "Make room" in said
    assert published(job) == ["epoch-0001"]
    assert not (Path(job.output) / FILES[0]).exists()
    assert ends(dying.start(job)) == 0
    for name in FILES:
        a, b = (Path(one.output) / name for one in (undisturbed, job))
        assert a.read_bytes() == b.read_bytes(), name


@pytest.mark.parametrize("harm", ["tensors", "state", "gone"])
def test_without_a_usable_checkpoint_it_starts_anew_and_says_so(  # type: ignore[no-untyped-def]
    make_job, capsys: pytest.CaptureFixture[str], harm: str
) -> None:
    job = make_job(max_epochs=1)
    train(job)
    before = [(Path(job.output) / name).read_bytes() for name in FILES]
    (name,) = published(job)
    newest = Path(job.checkpoints) / name
    if harm == "tensors":
        content = newest / TENSORS
        content.write_bytes(content.read_bytes()[:-1] + b"?")
    elif harm == "state":
        (newest / "state.json").write_text('{"position": 3}')
    else:
        shutil.rmtree(newest)
    capsys.readouterr()
    train(job)
    said = capsys.readouterr().out
    how = "damaged" if harm == "tensors" else "unreadable"
    assert f"checkpoint {newest} is {how} and passed over" in said
    assert f"none of 1 checkpoints in {job.checkpoints} can be used; starting anew" in said
    assert [(Path(job.output) / name).read_bytes() for name in FILES] == before


def test_a_damaged_list_of_checkpoints_is_an_error(make_job) -> None:  # type: ignore[no-untyped-def]
    job = make_job(max_epochs=1)
    train(job)
    (Path(job.checkpoints) / POINTER).write_bytes(b"\0" * 12)
    with pytest.raises(TrainingError, match=r"current\.json, the list of checkpoints.* is damaged"):
        train(job)
    assert (Path(job.checkpoints) / "epoch-0001").exists()
