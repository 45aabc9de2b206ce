"""Studies with Ray Tune: killed and continued, trials that fail, time that runs out; where Ray listens."""

import ipaddress
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from pipeline_assets.spec import Tuning
from pipeline_assets.training.config import TrainingJob
from pipeline_assets.tuning.errors import TuningError
from pipeline_assets.tuning.journal import Journal
from pipeline_assets.tuning.study import run_study
from pipeline_assets.tuning.trials import Trial
from tests.tuning.conftest import SPACE, start_study

MakeTuning = Callable[..., Tuning]
FOREVER = 100_000


def lines(folder: Path) -> list[str]:
    file = folder / "study" / "trials.jsonl"
    return file.read_text().splitlines() if file.exists() else []


def sessions() -> set[Path]:
    return set(Path(tempfile.gettempdir()).glob("ray_study_*"))


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
def test_a_killed_study_leaves_nothing_running_and_continues_where_it_was(
    tmp_path: Path, job: TrainingJob, tuning: MakeTuning
) -> None:
    before = sessions()
    process = start_study(tmp_path, job, tuning(trials=FOREVER))
    family: list[psutil.Process] = []
    try:
        deadline = time.monotonic() + 120
        while sum('"ended"' in line for line in lines(tmp_path)) < 3:
            assert process.poll() is None, process.stdout and process.stdout.read()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        family = psutil.Process(process.pid).children(recursive=True)
        addresses = listening([psutil.Process(process.pid), *family])
    finally:
        process.kill()
        process.communicate()
    assert addresses and all(map(is_loopback, addresses)), addresses
    deadline = time.monotonic() + 30
    while (alive := [p for p in family if p.is_running()]) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not alive, [p.name() for p in alive]
    while sessions() - before and time.monotonic() < deadline:
        time.sleep(0.1)
    assert sessions() <= before
    killed = Journal(tmp_path / "study")
    done = {trial.number: trial for trial in killed.finished}
    interrupted = killed.interrupted
    told: list[Trial] = []
    trials = run_study(
        job,
        tuning(trials=len(done) + 4),
        seed=0,
        folder=tmp_path / "study",
        listener=told.append,
    )
    # Finished trials are neither repeated nor changed; interrupted ones are begun again as they were.
    assert [trial.number for trial in told[: len(done)]] == [t.number for t in killed.finished]
    assert len(told) == len(trials) == len(done) + 4
    assert len({trial.number for trial in trials}) == len(trials)
    for trial in trials:
        assert trial.number not in done or trial == done[trial.number]
        if trial.number in interrupted:
            assert trial.settings == interrupted[trial.number]
    assert set(interrupted) <= {trial.number for trial in trials}
    settings = [repr(sorted(trial.settings.items())) for trial in trials]
    assert len(set(settings)) == len(settings)
    assert trials[0].settings == {"training.learning_rate": 5e-3, "model.options.hidden": [4]}
    assert sessions() <= before
    again = run_study(
        job, tuning(trials=len(trials)), seed=0, folder=tmp_path / "study", listener=told.append
    )
    assert again == trials


@pytest.mark.heavy
def test_settings_that_do_not_work_are_failed_trials_and_time_ends_a_study(
    tmp_path: Path, job: TrainingJob, tuning: MakeTuning
) -> None:
    # A rate of a million: the loss is NaN within the first steps.
    space = {**SPACE, "training.learning_rate": {"choice": [0.005, 1e30]}}
    wanted = tuning(space=space, trials=FOREVER, time_limit="6s", scheduler="none", search="random")
    trials = run_study(job, wanted, seed=0, folder=tmp_path / "study", listener=lambda trial: None)
    assert 0 < len(trials) < FOREVER
    by_rate = {
        rate: [t for t in trials if t.settings["training.learning_rate"] == rate]
        for rate in (0.005, 1e30)
    }
    assert by_rate[0.005] and by_rate[1e30]
    for trial in by_rate[0.005]:
        assert trial.outcome == "completed" and trial.epochs == 3, trial
    for trial in by_rate[1e30]:
        assert trial.outcome == "failed" and "NaN" in trial.message, trial


def test_a_value_that_the_model_refuses_is_named_before_the_first_trial(
    tmp_path: Path, job: TrainingJob, tuning: MakeTuning
) -> None:
    space = {"model.options.hidden": {"choice": [[4], [0]]}}
    with pytest.raises(TuningError, match=r"model.options.hidden cannot be \[0\]"):
        run_study(
            job,
            tuning(space=space),
            seed=0,
            folder=tmp_path / "study",
            listener=lambda trial: None,
        )
