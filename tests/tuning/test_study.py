"""Studies with Ray Tune: killed and continued, trials that fail, time that runs out; where Ray listens."""

import ipaddress
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import psutil
import pytest

from pipeline_assets.spec import Tuning
from pipeline_assets.training.config import TrainingJob
from pipeline_assets.tuning.errors import TuningError
from pipeline_assets.tuning.journal import Journal
from pipeline_assets.tuning.study import run_study
from pipeline_assets.tuning.trials import Trial
from tests.tuning.conftest import start_study

MakeTuning = Callable[..., Tuning]
FOREVER = 100_000
SOME_DIVERGE = {
    "training.learning_rate": {"choice": [0.005, 1e30]},
    "training.weight_decay": {"uniform": [0.0, 0.1]},
    "model.options.dropout": {"uniform": [0.0, 0.4]},
}
FULL = os.environ.get("PIPELINE_TEST_FULL") == "1"


def lines(folder: Path) -> list[str]:
    file = folder / "study" / "trials.jsonl"
    return file.read_text().splitlines() if file.exists() else []


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The temporary folder of this test's studies; pytest's own is too deep for Ray's sockets."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def sessions(temporary: Path) -> list[Path]:
    return list(temporary.glob("ray_study_*"))


def listening(processes: list[psutil.Process]) -> set[str]:
    """Addresses that these processes listen on."""
    found = set()
    for process in processes:
        try:
            connections = process.net_connections("inet")
        except psutil.Error:
            continue
        found |= {c.laddr.ip for c in connections if c.status == psutil.CONN_LISTEN}
    return found


def is_loopback(address: str) -> bool:
    parsed = ipaddress.ip_address(address)
    mapped = getattr(parsed, "ipv4_mapped", None)
    return (mapped or parsed).is_loopback


@pytest.mark.heavy
def test_a_killed_study_leaves_nothing_running_and_continues_where_it_was_until_time_is_over(
    tmp_path: Path, temporary: Path, job: TrainingJob, tuning: MakeTuning
) -> None:
    endless = tuning(space=SOME_DIVERGE, trials=FOREVER, search="random")
    process = start_study(tmp_path, job, endless)
    family: list[psutil.Process] = []
    try:
        deadline = time.monotonic() + 180
        while sum('"ended"' in line for line in lines(tmp_path)) < 3:
            assert process.poll() is None, process.stdout and process.stdout.read()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        family = psutil.Process(process.pid).children(recursive=True)
        addresses = listening([psutil.Process(process.pid), *family])
        assert sessions(temporary)
    finally:
        process.kill()
        process.communicate()
    assert addresses and all(map(is_loopback, addresses)), addresses
    deadline = time.monotonic() + 30
    while (alive := [p for p in family if p.is_running()]) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not alive, [p.name() for p in alive]
    while sessions(temporary) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not sessions(temporary)
    with Journal(tmp_path / "study") as killed:
        pass
    done = {trial.number: trial for trial in killed.finished}
    told: list[Trial] = []
    running: list[Trial] = []

    def run(tuning: Tuning) -> list[Trial]:
        with Journal(tmp_path / "study") as journal:
            return run_study(job, tuning, seed=0, journal=journal, listener=listen)

    def listen(trial: Trial) -> None:
        (told if trial.is_over else running).append(trial)

    wanted = endless.model_copy(update={"trials": len(killed.begun) + 10})
    trials = run(wanted)
    assert len(told) == len(trials) == wanted.trials > len(done)
    check_continued(trials, told, killed)
    # Of each new one also its beginning and its epochs, as they come.
    one = [seen.scores for seen in running if seen.number == trials[-1].number]
    assert one == [trials[-1].scores[:epochs] for epochs in range(len(trials[-1].scores) + 1)]
    check_outcomes(trials)
    # As declared, and the default of the factory.
    assert trials[0].settings == {
        "training.learning_rate": 0.005,
        "training.weight_decay": 0.01,
        "model.options.dropout": 0.1,
    }
    assert not sessions(temporary)
    # Nothing is missing of a study of so many trials: they are returned, and Ray is not started.
    assert run(wanted) == trials
    # Of what time cuts off, what is finished is returned, and that may be nothing new.
    cut_off = run(endless.model_copy(update={"time_limit": timedelta(seconds=1)}))
    assert cut_off[: len(trials)] == trials and len(cut_off) < FOREVER


def check_continued(trials: list[Trial], told: list[Trial], killed: Journal) -> None:
    """Finished trials are neither repeated nor changed; interrupted ones are begun again as they were."""
    done = {trial.number: trial for trial in killed.finished}
    assert [trial.number for trial in told[: len(done)]] == [t.number for t in killed.finished]
    assert len({trial.number for trial in trials}) == len(trials)
    for trial in trials:
        assert trial.number not in done or trial == done[trial.number]
        if trial.number in killed.interrupted:
            assert trial.settings == killed.interrupted[trial.number]
    assert set(killed.interrupted) <= {trial.number for trial in trials}
    settings = [repr(sorted(trial.settings.items())) for trial in trials]
    assert len(set(settings)) == len(settings)


def check_outcomes(trials: list[Trial]) -> None:
    """A rate of 1e30 makes the loss NaN within the first steps: a failed trial, not a failed study."""
    diverged = [trial for trial in trials if trial.settings["training.learning_rate"] > 1]
    sound = [trial for trial in trials if trial not in diverged]
    assert diverged and sound
    for trial in diverged:
        assert trial.outcome == "failed" and "NaN" in trial.message, trial
    for trial in sound:
        assert trial.outcome in ("completed", "stopped"), trial
        assert (trial.epochs == 3) == (trial.outcome == "completed"), trial


@pytest.mark.heavy
@pytest.mark.skipif(not FULL, reason="PIPELINE_TEST_FULL=1")
def test_a_study_goes_on_when_another_one_on_the_machine_is_killed(
    tmp_path: Path, temporary: Path, job: TrainingJob, tuning: MakeTuning
) -> None:
    endless = tuning(space=SOME_DIVERGE, trials=FOREVER, search="random")
    folders = [tmp_path / "killed", tmp_path / "other"]
    for folder in folders:
        folder.mkdir()
    killed, other = (start_study(folder, job, endless) for folder in folders)

    def go_on(folder: Path, trials: int) -> None:
        deadline = time.monotonic() + 180
        while sum('"ended"' in line for line in lines(folder)) < trials:
            assert other.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)

    try:
        for folder in folders:
            go_on(folder, 3)
        family = psutil.Process(other.pid).children(recursive=True)
        assert len(sessions(temporary)) == 2
        killed.kill()
        killed.wait()
        deadline = time.monotonic() + 30
        while len(sessions(temporary)) > 1 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert len(sessions(temporary)) == 1
        go_on(folders[1], len(lines(folders[1])) + 10)
        assert all(process.is_running() for process in family)
    finally:
        for process in (killed, other):
            process.kill()
            process.communicate()
    deadline = time.monotonic() + 30
    while sessions(temporary) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not sessions(temporary)


def test_a_value_that_the_model_refuses_is_named_before_the_first_trial(
    tmp_path: Path, job: TrainingJob, tuning: MakeTuning
) -> None:
    space = {"model.options.hidden": {"choice": [[4], [0]]}}
    with (
        Journal(tmp_path / "study") as journal,
        pytest.raises(TuningError, match=r"model.options.hidden cannot be \[0\]"),
    ):
        run_study(job, tuning(space=space), seed=0, journal=journal, listener=lambda trial: None)
