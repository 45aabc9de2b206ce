"""Training on shards at a URI, on a real S3 server on this machine."""

import dataclasses
import json
import os
import subprocess
import uuid
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from pipeline_assets.shards import ShardReader, download, load_index
from pipeline_assets.training import damaged_shards, worker
from pipeline_assets.training.config import TrainingInterrupted, TrainingJob
from pipeline_assets.training.damaged_shards import find_damaged
from pipeline_assets.training.heartbeat import Heartbeat, read_positions
from pipeline_assets.training.parallelize import join_ranks
from pipeline_assets.training.reason import Reason
from tests.shards.s3_server import s3_server
from tests.training.files import damage_unseen


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


def test_an_outage_of_the_store_does_not_end_the_training_for_good(
    make_job: Callable[..., TrainingJob], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIPELINE_SHARD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr(download, "PATIENCE_SECONDS", 0.001)
    local = make_job(max_epochs=1)
    output = Path(local.output)
    with s3_server() as s3:
        uri = s3.upload(Path(local.shards), uuid.uuid4().hex)
        path = tmp_path / "job.json"
        path.write_text(json.dumps(dataclasses.replace(local, shards=uri).to_dict()))
        s3.before = lambda request: 500 if request.range else None
        assert worker.main(str(path)) == 1
        reason = Reason(output).read()
        assert isinstance(reason, TrainingInterrupted) and "cannot read s3://" in str(reason)
        # As the agent starts it again.
        monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
        s3.before = lambda request: None
        assert worker.main(str(path)) == 0
    assert (output / "model.safetensors").exists()


def test_a_restart_hashes_only_what_has_changed_in_the_cache(
    make_job: Callable[..., TrainingJob], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    monkeypatch.setenv("PIPELINE_SHARD_CACHE", str(cache))
    local = make_job()
    with s3_server() as s3:
        uri = s3.upload(Path(local.shards), uuid.uuid4().hex)
        job = dataclasses.replace(local, shards=uri)
        find_damaged(job, join_ranks(), Heartbeat())
        ShardReader(uri, "train").arrays()
        held = sorted((cache / "shards").iterdir())
        assert len(held) == 2
        damage_unseen(held[0])
        damage_unseen(held[1])
        os.utime(held[1])
        find_damaged(job, join_ranks(), Heartbeat())
        assert sorted((cache / "shards").iterdir()) == held[:1]
        # A training of its own trusts nobody.
        other = dataclasses.replace(job, checkpoints=str(tmp_path / "other"))
        find_damaged(other, join_ranks(), Heartbeat())
        assert list((cache / "shards").iterdir()) == []


def test_a_rank_is_alive_while_it_downloads_what_it_verifies(
    make_job: Callable[..., TrainingJob], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIPELINE_SHARD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(download, "PIECE_BYTES", 2000)
    monkeypatch.setattr(damaged_shards, "available_cores", lambda: 1)
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
