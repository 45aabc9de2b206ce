"""A folder of shards made from NumPy, for the loader's tests."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from pipeline_assets.shards import ShardIndex, write_shard
from tests.shards.s3_server import S3Server, s3_server

MakeShards = Callable[..., Path]


@pytest.fixture
def make_shards(tmp_path: Path) -> MakeShards:
    """Return a function that writes shards with the given numbers of rows and returns the folder."""

    def make(*rows: int, split: str = "train", numeric: int = 3, categorical: int = 2) -> Path:
        rng = np.random.default_rng(sum(rows))
        row_id = np.sort(rng.integers(-(2**62), 2**62, sum(rows)))
        shards, start = [], 0
        for at, count in enumerate(rows):
            ids = row_id[start : start + count]
            file = f"{split}/shard-{at:05d}.safetensors"
            shards.append(
                write_shard(
                    str(tmp_path / file),
                    # The columns tell the row id, so that a test sees rows torn apart.
                    numeric=np.stack(
                        [(ids % 1009 + k).astype(np.float32) for k in range(numeric)], 1
                    ),
                    categorical=np.stack([ids + k for k in range(categorical)], 1),
                    label=(ids % 2).astype(np.float32),
                    row_id=ids,
                    file=file,
                    split=split,
                )
            )
            start += count
        index = ShardIndex(
            numeric=tuple(f"n{k}" for k in range(numeric)),
            categorical=tuple(f"c{k}" for k in range(categorical)),
            shards=tuple(shards),
        )
        (tmp_path / "index.json").write_text(json.dumps(index.to_dict()))
        return tmp_path

    return make


@pytest.fixture
def s3() -> Iterator[S3Server]:
    """An S3 server that the environment points to."""
    with s3_server() as server:
        yield server
