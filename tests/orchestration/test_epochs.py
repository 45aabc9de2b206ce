"""Metrics of epochs reach MLflow while training runs; interrupted and resumed, each is there once."""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric

from pipeline_assets.orchestration import epochs as watched
from pipeline_assets.orchestration.epochs import EpochMetrics
from pipeline_assets.orchestration.tracking import Tracking
from pipeline_assets.registry import RegistryError, prepare_store
from tests.orchestration.tiny_use_case import at_home, write_project

LOG: Any = dg.get_dagster_logger()


@pytest.fixture
def tracking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tracking]:
    """A run in a store of its own, as a Dagster run would have begun it."""
    write_project(tmp_path)
    monkeypatch.setattr(watched, "POLL_SECONDS", 0.02)
    with at_home(tmp_path):
        tracking = Tracking(dg.build_init_resource_context(), "tiny")
        prepare_store(tracking.tracking_uri, experiment="tiny")
        store = MlflowClient(tracking_uri=tracking.tracking_uri)
        experiment = store.get_experiment_by_name("tiny")
        assert experiment is not None
        run = store.create_run(experiment.experiment_id)
        monkeypatch.setattr(Tracking, "run_id", run.info.run_id)
        yield tracking


def history(tracking: Tracking, metric: str = "train_loss") -> list[tuple[int, float]]:
    store = MlflowClient(tracking_uri=tracking.tracking_uri)
    found: list[Metric] = store.get_metric_history(tracking.run_id, metric)
    return sorted((item.step, item.value) for item in found)


def write(file: Path, epochs: int, scale: float = 1) -> None:
    """What the leading rank writes after so many epochs."""
    rows = [
        {"epoch": n, "train_loss": scale / n, "best": n == epochs, "seconds": 0.5}
        for n in range(1, epochs + 1)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def wait_for(tracking: Tracking, epochs: int) -> None:
    deadline = time.monotonic() + 20
    while len(history(tracking)) < epochs and time.monotonic() < deadline:
        time.sleep(0.05)


def test_an_epoch_is_in_mlflow_while_the_next_one_runs(tracking: Tracking, tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    with EpochMetrics(tracking, file, LOG):
        for epochs in (1, 2):
            write(file, epochs)
            wait_for(tracking, epochs)
            assert [step for step, _ in history(tracking)] == list(range(1, epochs + 1))
        write(file, 3)
    assert history(tracking) == [(1, 1.0), (2, 0.5), (3, 1 / 3)]
    assert history(tracking, "seconds") == history(tracking, "best") == []


def test_an_interrupted_training_keeps_its_epochs_and_a_resume_repeats_none(
    tracking: Tracking, tmp_path: Path
) -> None:
    file = tmp_path / "metrics.jsonl"
    with pytest.raises(KeyboardInterrupt), EpochMetrics(tracking, file, LOG):
        write(file, 2)
        raise KeyboardInterrupt
    assert [step for step, _ in history(tracking)] == [1, 2]
    file.unlink()
    with EpochMetrics(tracking, file, LOG):
        write(file, 4)
    assert [step for step, _ in history(tracking)] == [1, 2, 3, 4]


def test_epochs_that_a_reload_throws_away_are_not_in_mlflow(
    tracking: Tracking, tmp_path: Path
) -> None:
    file = tmp_path / "metrics.jsonl"
    with EpochMetrics(tracking, file, LOG, checkpoint_epochs=2):
        write(file, 3)
        wait_for(tracking, 2)
        time.sleep(0.2)
        # Back to the end of the second one, and the third again, the last one now.
        lines = file.read_text().splitlines()
        file.write_text("\n".join([*lines[:2], lines[2].replace("0.3", "0.2")]))
    assert history(tracking) == [(1, 1.0), (2, 0.5), (3, 1 / 3 - 0.1)]


def test_an_epoch_that_a_resume_has_changed_is_sent_again(
    tracking: Tracking, tmp_path: Path
) -> None:
    file = tmp_path / "metrics.jsonl"
    write(file, 1)
    with EpochMetrics(tracking, file, LOG):
        pass
    write(file, 2, scale=1.25)
    with EpochMetrics(tracking, file, LOG):
        pass
    assert tracking.last_values("train_loss") == {1: 1.25, 2: 0.625}


def test_a_server_that_is_away_meanwhile_gets_the_epochs_later(
    tracking: Tracking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, tried = tmp_path / "metrics.jsonl", threading.Event()
    send = Tracking.log_metrics

    def away(*_: Any, **__: Any) -> None:
        tried.set()
        raise RegistryError("the MLflow server was lost")

    with EpochMetrics(tracking, file, LOG):
        monkeypatch.setattr(Tracking, "log_metrics", away)
        write(file, 1)
        assert tried.wait(20)
        monkeypatch.setattr(Tracking, "log_metrics", send)
    assert [step for step, _ in history(tracking)] == [1]
    monkeypatch.setattr(Tracking, "log_metrics", away)
    with pytest.raises(RegistryError, match="was lost"), EpochMetrics(tracking, file, LOG):
        write(file, 2)
