"""Training on shards at a URI, on a real S3 server on this machine."""

import dataclasses
import subprocess
import uuid
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from pipeline_assets.shards import download, load_index
from pipeline_assets.training.config import TrainingJob
from pipeline_assets.training.damaged_shards import find_damaged
from pipeline_assets.training.heartbeat import Heartbeat, read_positions
from pipeline_assets.training.parallelize import join_ranks
from tests.shards.s3_server import s3_server


def test_weights_are_those_of_local_shards(
    make_job: Callable[..., TrainingJob],
    start: Callable[[TrainingJob], "subprocess.Popen[str]"],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PIPELINE_SHARD_CACHE", str(tmp_path / "cache"))
    local = make_job(processes=2, max_epochs=2)
    with s3_server() as s3:
        uri = s3.upload(Path(local.shards), uuid.uuid4().hex)
        weights = []
        for shards, name in ((local.shards, "here"), (uri, "there")):
            output = tmp_path / name
            job = dataclasses.replace(
                local, shards=shards, output=str(output), checkpoints=str(output / "checkpoints")
            )
            output.mkdir()
            process = start(dataclasses.replace(job, output=str(output / "model")))
            out, err = process.communicate(timeout=120)
            assert process.returncode == 0, out + err
            weights.append((output / "model" / "model.safetensors").read_bytes())
    assert weights[0] == weights[1]
    # Two ranks, two splits of two shards; the test split is nobody's.
    assert len(s3.downloads()) == 4


def test_a_rank_is_alive_while_it_downloads_what_it_verifies(
    make_job: Callable[..., TrainingJob], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIPELINE_SHARD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(download, "PIECE_BYTES", 2000)
    local = make_job(on_damaged_shard="skip")
    beats = tmp_path / "beats"
    beats.mkdir()
    with s3_server() as s3:
        uri = s3.upload(Path(local.shards), uuid.uuid4().hex)
        heard: list[float] = []
        s3.before = lambda request: (
            heard.append(read_positions(beats)[0].at) if request.range else None
        )
        found = find_damaged(
            dataclasses.replace(local, shards=uri), join_ranks(), Heartbeat(str(beats))
        )
        assert found.shards == ()
        checked = [shard for shard in load_index(uri).shards if shard.split != "test"]
        assert len(heard) == sum(-(-shard.bytes // 2000) for shard in checked)
        # Until the first piece is there, the time allowed for imports lies ahead.
        assert all(earlier < later for earlier, later in pairwise(heard[1:]))
