"""A lake on an object store: what trains and judges reads its shards through the cache, once each."""

import os
from collections import Counter
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from pipeline_assets.lake import Lake
from tests.orchestration.conftest import Project, failure_text
from tests.orchestration.tiny_use_case import ENVIRONMENT, at_home, write_project
from tests.shards.s3_server import s3_server

FULL = os.environ.get("PIPELINE_TEST_FULL") == "1"
ASSETS = [
    "raw",
    "validated",
    "rejected",
    "features",
    "feature_statistics",
    "tensor_shards",
    "trained_model",
    *(["evaluation_report"] if FULL else []),
]


@pytest.mark.heavy
def test_the_chain_on_an_object_store(tmp_path: Path) -> None:
    file = write_project(tmp_path)
    with s3_server() as s3:
        uri = s3.upload(tmp_path / "nothing", "bucket") + "/lake"
        environment: dict[str, Any] = {
            **ENVIRONMENT,
            "lake": {"uri": uri},
            "shard_cache": {"folder": "cache", "max_gib": 1},
            "training": {"processes": 2},
        }
        (tmp_path / "environment.yaml").write_text(yaml.safe_dump(environment), encoding="utf-8")
        with at_home(tmp_path), dg.DagsterInstance.ephemeral(tempdir=str(tmp_path)) as instance:
            project = Project(home=tmp_path, file=file, instance=instance)
            result = project.run(asset_selection=[dg.AssetKey(["tiny", name]) for name in ASSETS])
            assert result.success, failure_text(result)
            assert Lake(uri).dataset("tiny", ASSETS[-1]).current() is not None
    asked = Counter(r.path for r in s3.downloads() if "/tensor_shards/" in r.path)
    read = {path: times for path, times in asked.items() if FULL or "/test/" not in path}
    # Once when their version was sealed, and once for both ranks and the evaluation together.
    assert set(read.values()) == {2}
    assert len(list((tmp_path / "cache" / "shards").iterdir())) == len(read)
