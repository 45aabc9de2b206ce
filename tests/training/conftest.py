"""A small training job over shards made from NumPy."""

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline_assets.shards import ShardIndex, hash_categories, write_shard
from pipeline_assets.training.config import (
    CategoricalFeature,
    LaunchConfig,
    ModelConfig,
    NumericFeature,
    PreprocessorConfig,
    TrainingConfig,
    TrainingJob,
)
from pipeline_assets.training.launch import PARENT_PID

CITIES = ["Bern", "Basel", "Chur"]
MakeJob = Callable[..., TrainingJob]


def preprocessor() -> PreprocessorConfig:
    """Features: a signal, one with missing values, one constant, one without any value."""
    edges = tuple(float(x) for x in np.linspace(-2, 2, 9))
    return PreprocessorConfig(
        numeric=(
            NumericFeature(name="signal", mean=0.0, std=1.0, median=0.0, edges=edges),
            NumericFeature(name="gaps", mean=0.0, std=1.0, median=0.0, edges=edges),
            NumericFeature(name="constant", mean=7.0, std=0.0, median=7.0, edges=(7.0,)),
            NumericFeature(name="empty", mean=None, std=None, median=None),
        ),
        categorical=(
            CategoricalFeature(
                name="city", vocabulary=tuple(int(h) for h in hash_categories(CITIES))
            ),
        ),
    )


def write_split(folder: Path, split: str, rows: int, seed: int, label: float | None) -> list[Any]:
    rng = np.random.default_rng(seed)
    numeric = rng.normal(size=(rows, 4)).astype(np.float32)
    numeric[rng.random(rows) < 0.2, 1] = np.nan
    numeric[:, 2], numeric[:, 3] = 7, np.nan
    city = rng.integers(0, 4, rows)
    hashes = hash_categories([*CITIES, None])[city][:, None]
    logit = 1.5 * numeric[:, 0] + np.nan_to_num(numeric[:, 1]) + (city == 1) - 1
    drawn = (rng.random(rows) < 1 / (1 + np.exp(-logit))).astype(np.float32)
    row_id = np.sort(rng.integers(-(2**62), 2**62, rows))
    shards = []
    for at, part in enumerate(np.array_split(np.arange(rows), 2)):
        file = f"{split}/shard-{at:05d}.safetensors"
        shards.append(
            write_shard(
                str(folder / file),
                numeric=numeric[part],
                categorical=hashes[part],
                label=drawn[part] if label is None else np.full(len(part), label),
                row_id=row_id[part],
                file=file,
                split=split,
            )
        )
    return shards


@pytest.fixture
def make_job(tmp_path: Path) -> MakeJob:
    """Return a function that writes shards and returns a job; each call a job of its own."""
    made = 0

    def make(
        *,
        rows: int = 403,
        label: float | None = None,
        options: dict[str, Any] | None = None,
        factory: str = "pipeline_assets.training.models.mlp:build",
        processes: int = 1,
        max_restarts: int = 0,
        seed: int = 0,
        **training: Any,
    ) -> TrainingJob:
        nonlocal made
        made += 1
        folder = tmp_path / f"job{made}"
        shards = write_split(folder / "shards", "train", rows, 1, label)
        shards += write_split(folder / "shards", "validation", 151, 2, None)
        shards += write_split(folder / "shards", "test", 500, 3, None)
        config = preprocessor()
        index = ShardIndex(
            numeric=tuple(f.name for f in config.numeric),
            categorical=tuple(f.name for f in config.categorical),
            shards=tuple(shards),
        )
        (folder / "shards/index.json").write_text(json.dumps(index.to_dict()))
        settings = {"max_epochs": 3, "batch_size": 64, "learning_rate": 5e-3, **training}
        return TrainingJob(
            shards=str(folder / "shards"),
            output=str(folder / "model"),
            checkpoints=str(folder / "checkpoints"),
            seed=seed,
            model=ModelConfig(factory=factory, options=options or {}, preprocessor=config),
            training=TrainingConfig(**settings),
            launch=LaunchConfig(processes=processes, max_restarts=max_restarts),
        )

    return make


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Return a function that starts the launcher of a job as a subprocess, with further variables."""

    def begin(job: TrainingJob, **variables: str) -> subprocess.Popen[str]:
        path = Path(job.output).with_name("job.json")
        path.write_text(json.dumps(dataclasses.asdict(job)))
        return subprocess.Popen(
            [sys.executable, "-m", "pipeline_assets.training.launch", str(path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # A test that fails leaves no training behind.
            env={k: v for k, v in os.environ.items() if k != "PYTHONWARNINGS"}
            | {PARENT_PID: str(os.getpid())}
            | variables,
        )

    return begin


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Keep torch to one thread: on a busy machine more of them wait for each other."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
