"""Losses and gradients that are not finite: seen at once or one step later, on one rank.

Over ranks see `test_parallelism`, what becomes of the training afterwards `test_mid_epoch`.
"""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pipeline_assets.shards import ShardReader
from pipeline_assets.training import not_finite
from pipeline_assets.training.config import TrainingError, TrainingJob
from pipeline_assets.training.precision import MixedPrecision
from pipeline_assets.training.worker import train

INFINITE = "tests.training.factories:infinite_row"
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def one_step_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at steps when a GPU would."""
    monkeypatch.setattr(not_finite, "steps_unseen", lambda device: 1)


def largest_row(job: TrainingJob) -> tuple[float, int]:
    """Second largest first number of the training rows, and the row that alone is above it."""
    rows = ShardReader(job.shards, "train").arrays()
    order = np.argsort(rows.numeric[:, 0])
    return float(rows.numeric[order[-2], 0]), int(rows.row_id[order[-1]])


def said_of(job: TrainingJob, capsys: pytest.CaptureFixture[str]) -> list[tuple[str, ...]]:
    with pytest.raises(TrainingError) as error:
        train(job)
    said = f"{capsys.readouterr().out} {error.value}"
    return re.findall(r"epoch (\d), batch (\d+) .*? row_id (-?\d+) \(loss (?:inf|nan)\)", said)


def test_an_infinite_loss_of_a_finite_gradient_names_its_row(  # type: ignore[no-untyped-def]
    make_job, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    above, row_id = largest_row(make_job())
    options = {"above": above, "hide": False}
    settings = {"factory": INFINITE, "options": options, "on_not_finite": "reload"}
    at_once = said_of(make_job(**settings, max_reloads=2), capsys)
    assert len(at_once) == 3 and set(at_once) == {("1", at_once[0][1], str(row_id))}
    # One step later the same is said of the same step, also where the batch is the last of an epoch.
    monkeypatch.setattr(not_finite, "steps_unseen", lambda device: 1)
    assert said_of(make_job(**settings, max_reloads=2), capsys) == at_once
    whole = said_of(make_job(**settings, max_reloads=1, batch_size=403), capsys)
    assert whole == [("1", "0", str(row_id))] * 2


def test_a_loss_that_no_gradient_shows_is_an_error(make_job) -> None:  # type: ignore[no-untyped-def]
    above, _ = largest_row(make_job())
    job = make_job(factory=INFINITE, options={"above": above, "hide": True})
    with pytest.raises(
        TrainingError, match="training loss of epoch 1 is nan, and the gradients did"
    ):
        train(job)


@pytest.mark.usefixtures("one_step_later")
def test_a_reload_one_step_later_gives_the_same_bytes(  # type: ignore[no-untyped-def]
    make_job, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The rate grows for 18 of 21 steps; what it has reached in the second epoch is too much.
    settings = {
        "factory": "tests.training.factories:overflowing", "options": {"furthest": 3e-3},
        "warmup_share": 0.9, "on_not_finite": "reload", "reload_rate_factor": 0.1,
    }  # fmt: skip
    later, at_once = make_job(**settings), make_job(**settings)
    train(later)
    monkeypatch.setattr(not_finite, "steps_unseen", lambda device: 0)
    train(at_once)
    for file in ("model.safetensors", "history.json"):
        a, b = ((Path(job.output) / file).read_bytes() for job in (later, at_once))
        assert a == b, file
    assert json.loads((Path(later.output) / "history.json").read_text())["reloads"]


def test_scaling_goes_on_after_a_step_that_was_broken_off() -> None:
    network = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    precision = MixedPrecision("float16", torch.device("cpu"))
    before = precision.state()

    def gradients() -> None:
        optimizer.zero_grad()
        precision.backward(network(torch.ones(1, 1)).sum())
        precision.unscale(optimizer)

    gradients()
    precision.restore(before)  # as after a loss that is not finite
    gradients()
    precision.step(optimizer)
    precision.restore({**before, "scale": 1024.0})
    assert precision.state()["scale"] == 1024.0
