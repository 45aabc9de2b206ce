"""What is left of a training that has failed: reasons and stacks, where several nodes share the folder."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline_assets.training.config import TrainingError, TrainingInterrupted
from pipeline_assets.training.files import write_result
from pipeline_assets.training.heartbeat import read_positions
from pipeline_assets.training.reason import EARLIER, Reason
from pipeline_assets.training.watchdog import Watchdog


def said_to(reason: Reason) -> str | None:
    said = reason.read()
    return None if said is None else str(said)


def test_a_node_that_starts_later_leaves_what_another_has_said(tmp_path: Path) -> None:
    first = Reason.at_start(tmp_path)
    first.leave("no such column")
    second = Reason.at_start(tmp_path)
    assert said_to(first) == "no such column" and said_to(second) is None
    first.leave("lost contact")
    assert said_to(first) == "no such column"
    # In a later training neither counts, and a reason of its own takes their place.
    third = Reason.at_start(tmp_path)
    third.leave("no such layer")
    assert said_to(third) == "no such layer"


def test_what_may_pass_is_not_final(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Reason.at_start(tmp_path).leave("of an earlier training")
    launcher = Reason.at_start(tmp_path)
    monkeypatch.setenv(EARLIER, launcher.environment()[EARLIER])
    rank = Reason(tmp_path)
    assert not rank.is_final()
    rank.leave_interruption("the store did not answer")
    assert isinstance(launcher.read(), TrainingInterrupted) and not rank.is_final()
    rank.leave("no such layer")
    assert rank.is_final() and said_to(launcher) == "no such layer"
    later = Reason.at_start(tmp_path)
    later.forget_earlier()
    assert not list(tmp_path.iterdir())


RANK = """
import sys, time
from pipeline_assets.training.heartbeat import Heartbeat
Heartbeat(sys.argv[1], int(sys.argv[2])).starting()
time.sleep(60)
"""


def test_nodes_that_hang_together_keep_the_stacks_of_both(tmp_path: Path) -> None:
    nodes = [tmp_path / "node-0", tmp_path / "node-1"]
    for node in nodes:
        node.mkdir()
    ranks = [
        subprocess.Popen([sys.executable, "-c", RANK, str(node), str(rank)])
        for rank, node in enumerate(nodes)
    ]
    try:
        deadline = time.monotonic() + 30
        while not all(read_positions(node) for node in nodes):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(0.3)
        output = tmp_path / "model"
        for rank, node in enumerate(nodes):
            said = Watchdog(node, output, timeout=0.2).look(lambda: [one.pid for one in ranks])
            assert said is not None and f": rank {rank} before the first batch. Their" in said
    finally:
        for one in ranks:
            one.kill()
            one.wait()
    for rank in (0, 1):
        assert "<module>" in (output / f"stacks/rank-{rank}.txt").read_text()


def test_a_file_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").mkdir()
    with pytest.raises(
        TrainingError, match=r"model\.safetensors could not be written: \[Errno 21\]"
    ):
        write_result(tmp_path / "model.safetensors", b"weights")
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]
