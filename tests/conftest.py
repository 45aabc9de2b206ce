"""Fixtures that all tests share: sessions of both engines, the real test data, GPUs or none."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pipeline_assets.environments.types import EngineSettings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# Before CUDA is asked for the first time: what it finds then, it keeps. Workers of pytest-xdist inherit both.
_GPUS = os.environ.setdefault("PIPELINE_TEST_GPUS", os.environ.get("CUDA_VISIBLE_DEVICES", "all"))
os.environ["CUDA_VISIBLE_DEVICES"] = ""


@pytest.fixture(autouse=True)
def _gpus_where_marked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let subprocesses of tests marked `gpu` see the GPUs; all else runs on CPUs on every machine."""
    if request.node.get_closest_marker("gpu") is None:
        return
    if not _GPUS or not Path("/dev/nvidiactl").exists():
        pytest.skip("needs a GPU")
    if _GPUS == "all":
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", _GPUS)


def _session(kind: str) -> "SparkSession":
    """A session beside others in this process, which `start_session` would refuse."""
    from pyspark.sql import SparkSession

    from pipeline_assets.engine import connect_url, session_conf

    settings = EngineSettings.model_validate({"kind": kind, "cores": 2})
    builder = SparkSession.builder.remote(connect_url(settings))
    for key, value in session_conf(settings).items():
        builder = builder.config(key, value)
    return builder.create()


@pytest.fixture(scope="session")
def spark() -> "Iterator[SparkSession]":
    """A session on the embedded engine."""
    yield _session("sail")


@pytest.fixture(scope="session")
def apache_spark() -> "Iterator[SparkSession]":
    """A session on local Apache Spark; mark tests that use it with `@pytest.mark.spark`."""
    from pipeline_assets.engine import EngineError

    try:
        session = _session("spark")
    except EngineError as error:
        pytest.skip(str(error))
    yield session


@pytest.fixture(scope="session", autouse=True)
def _stop_engines() -> Iterator[None]:
    yield
    from pipeline_assets.engine import stop_session

    stop_session()


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real input files."""
    folder = Path(os.environ.get("PIPELINE_TEST_DATA", "../shared/data")).absolute()
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set PIPELINE_TEST_DATA")
    return folder
