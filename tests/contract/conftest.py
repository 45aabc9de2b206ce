"""Both engines in turn, and a lake in a temporary folder."""

import pytest

from pipeline_assets.lake import Lake


@pytest.fixture(params=["spark", pytest.param("apache_spark", marks=pytest.mark.spark)])
def engine(request):
    """A session on the embedded engine, then one on Apache Spark."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def lake(tmp_path):
    """An empty lake."""
    return Lake(str(tmp_path / "lake"))
