"""Shards of random rows, for benchmarks of what is larger than the memory, and a training on them."""

import json
import os
import time
from pathlib import Path

import numpy as np

from pipeline_assets.shards import PartitionShards, ShardIndex, compose_index, write_shard
from pipeline_assets.training.config import (
    CategoricalFeature,
    ModelConfig,
    NumericFeature,
    PreprocessorConfig,
    TrainingConfig,
    TrainingJob,
)

NUMERIC, CATEGORICAL, SHARD_ROWS = 40, 4, 500_000
PIECE = 1 << 20


def write_data(folder: Path, rows: int) -> ShardIndex:
    """Write shards of random values whose labels are sorted: the worst case for a shuffle."""
    rng = np.random.default_rng(0)
    shards = []
    for at, start in enumerate(range(0, rows, SHARD_ROWS)):
        count = min(SHARD_ROWS, rows - start)
        row_id = np.arange(start, start + count)
        file = f"train/shard-{at:05d}.safetensors"
        shards.append(
            write_shard(
                str(folder / file),
                numeric=rng.random((count, NUMERIC), dtype=np.float32),
                categorical=rng.integers(0, 2**62, (count, CATEGORICAL)),
                label=(row_id >= rows * 0.9).astype(np.float32),
                row_id=row_id,
                file=file,
            )
        )
    index = ShardIndex(
        numeric=tuple(f"n{k}" for k in range(NUMERIC)),
        categorical=tuple(f"c{k}" for k in range(CATEGORICAL)),
        shards=tuple(shards),
    )
    (folder / "index.json").write_text(json.dumps(index.to_dict()))
    return index


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.safetensors"))


def forget(folder: Path) -> None:
    """Take the shards out of the page cache."""
    for path in files(folder):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read_plainly(folder: Path) -> float:
    """Seconds for reading all files one after another, in large pieces."""
    piece = bytearray(PIECE)
    started = time.perf_counter()
    for path in files(folder):
        with path.open("rb", buffering=0) as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
            while file.readinto(piece):
                pass
    return time.perf_counter() - started


def write_job(folder: Path, place: Path, size: int) -> Path:
    """Write a training of one epoch on the shards and a few more for validation; return its file."""
    write_data(place / "validation", SHARD_ROWS // 10)
    parts = {
        "train": [PartitionShards("rows", folder)],
        "validation": [PartitionShards("validation", place / "validation")],
    }
    index = compose_index(place / "shards", parts)
    job = place / "job.json"
    content = small_job(place, index.numeric, index.categorical, size).to_dict()
    job.write_text(json.dumps(content))
    return job


def small_job(
    place: Path, numeric: tuple[str, ...], categorical: tuple[str, ...], size: int
) -> TrainingJob:
    """A training of a small network, which saves its state every second."""
    columns = [NumericFeature(name=name, mean=0.5, std=0.3, median=0.5) for name in numeric]
    categories = [CategoricalFeature(name=name, vocabulary=()) for name in categorical]
    preprocessor = PreprocessorConfig(numeric=tuple(columns), categorical=tuple(categories))
    return TrainingJob(
        shards=str(place / "shards"),
        output=str(place / "model"),
        checkpoints=str(place / "checkpoints"),
        model=ModelConfig(preprocessor=preprocessor),
        training=TrainingConfig(batch_size=size, max_epochs=1, checkpoint_seconds=1.0),
    )
