"""What `profile` measures, and that it changes nothing."""

import dataclasses
import gzip
import json
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline_assets.training.config import TrainingJob
from pipeline_assets.training.plots import profile_bars
from pipeline_assets.training.profile.findings import PARTS, shares, step_spread
from pipeline_assets.training.worker import train
from tests.training.processes import finish

Start = Callable[[TrainingJob], subprocess.Popen[str]]
pytestmark = pytest.mark.timeout(200)


def profile_in(job: TrainingJob) -> dict[str, Any]:
    return json.loads((Path(job.output) / "profile.json").read_text())


def annotations(path: Path) -> list[str]:
    """Names of what the training loop annotated in a trace."""
    with gzip.open(path) as file:
        events = json.load(file)["traceEvents"]
    return [event["name"] for event in events if event.get("cat") == "user_annotation"]


def test_a_profile_changes_no_byte_of_the_model(make_job, one_thread) -> None:  # type: ignore[no-untyped-def]
    plain, profiled = make_job(), make_job(profile=True)
    for job in (plain, profiled):
        train(job)
    for file in ("model.safetensors", "config.json", "history.json"):
        one, other = (Path(job.output) / file for job in (plain, profiled))
        assert one.read_bytes() == other.read_bytes(), file
    assert plain.fingerprint("") == profiled.fingerprint("")
    assert not list(Path(plain.output).glob("*trace*"))
    assert not (Path(plain.output) / "profile.json").exists()


def test_a_straggler_is_named(make_job, start: Start) -> None:  # type: ignore[no-untyped-def]
    job = make_job(
        factory="tests.training.factories:slow",
        options={"rank": 1, "seconds": 0.03},
        processes=2,
        profile=True,
    )
    said = finish(start(job))
    assert "rank 1 is a straggler" in said
    found = profile_in(job)
    assert found["straggler"]["rank"] == 1 and found["straggler"]["times"] > 2
    # The second epoch has one step that is not traced: too few to tell on a busy machine.
    assert [found["epochs"][at]["straggler"]["rank"] for at in (0, 2)] == [1, 1]
    # A step of 30 ms is one of 30 ms on both: the other rank waits.
    assert found["step_seconds"]["min"] > 0.028
    assert found["shares_by_rank"][0]["communication"] > 0.3
    assert found["shares_by_rank"][1]["forward"] > 0.3
    for own in (found["shares"], *found["shares_by_rank"]):
        assert own.keys() == {*PARTS, "other"}
        assert sum(own.values()) == pytest.approx(1)
        assert all((own[part] > 0) == (part != "compile") for part in PARTS)
    # Seven batches an epoch: of the second, one is passed over and one warms up.
    assert found["traced"]["epoch"] == 2 and found["traced"]["steps"] == 5
    assert found["steps"] == 3 * 7 - 6
    assert "gloo:all_reduce" in [one["name"] for one in found["traced"]["collectives"]]
    for file in found["traces"]:
        names = annotations(Path(job.output) / file)
        for part in ("data", "forward", "backward", "optimiser"):
            assert names.count(part) >= 5, (file, part)
    assert len(found["traces"]) == 2


def test_an_epoch_of_one_batch(make_job, one_thread) -> None:  # type: ignore[no-untyped-def]
    job = make_job(rows=40, max_epochs=1, profile=True)
    train(job)
    found = profile_in(job)
    assert found["traced"] == {"epoch": 1, "steps": 1, "collectives": []}
    # It was traced, and nothing is left to measure steps by.
    assert found["steps"] == 0 and found["step_seconds"] is None and found["straggler"] is None
    assert annotations(Path(job.output) / found["traces"][0]).count("forward") == 1
    assert found["shares"]["validation"] > 0


def test_compiling_is_a_share_of_its_own(  # type: ignore[no-untyped-def]
    make_job, one_thread, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(graph: Any, inputs: Any) -> Callable[..., Any]:
        time.sleep(1.0)
        return graph.forward

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=slow))
    job = make_job(batch_size=100, max_epochs=3, profile=True, compile=True)
    train(job)
    found = profile_in(job)
    assert found["shares"]["compile"] * found["seconds"] > 1.0
    assert (found["shares"]["forward"] + found["shares"]["backward"]) * found["seconds"] < 0.5
    assert found["step_seconds"]["max"] < 0.2
    # Five batches an epoch: the first one of all compiled, those of the second epoch were traced.
    assert found["steps"] == 4 + 1 + 5


def test_the_shares_are_drawn_for_each_rank() -> None:
    own = {"data": 0.1, "forward": 0.3, "other": 0.6}
    one, two = profile_bars([own]), profile_bars([own, own])
    assert one == profile_bars([own]) != two
    # The width in a PNG's header fits into Dagster's dialogs.
    assert all(int.from_bytes(made[16:20], "big") <= 1000 for made in (one, two))


def test_a_finished_training_is_measured_no_more(make_job, one_thread) -> None:  # type: ignore[no-untyped-def]
    job = make_job(max_epochs=2)
    train(job)
    train(dataclasses.replace(job, training=dataclasses.replace(job.training, profile=True)))
    found = profile_in(job)
    assert found["steps"] == 0 and found["epochs"] == [] and found["traces"] == []


def seconds(**given: float) -> dict[str, float]:
    return {**dict.fromkeys(PARTS, 0.0), "steps": 10.0, **given}


def test_waiting_makes_no_straggler() -> None:
    busy, waiting = seconds(forward=2.0), seconds(forward=1.0, communication=1.0)
    found = step_spread([waiting, busy, waiting], separable=True)
    assert found["step_seconds"] == {"min": 0.2, "median": 0.2, "max": 0.2}
    assert found["straggler"] == {"rank": 1, "times": 2.0}
    assert step_spread([busy, busy], separable=True)["straggler"] is None
    assert step_spread([waiting, busy], separable=False)["straggler"] is None


def test_parts_that_exceed_the_whole_share_it() -> None:
    found = shares({**dict.fromkeys(PARTS, 0.0), "forward": 3.0, "data": 1.0}, 3.9)
    assert found["forward"] == 0.75 and found["other"] == 0.0
