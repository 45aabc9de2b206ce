"""Training on shards at a URI, on a real S3 server on this machine."""

import dataclasses
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline_assets.training.config import TrainingJob
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
