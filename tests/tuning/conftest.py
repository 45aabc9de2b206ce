"""A small training job, and studies of it in processes of their own."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline_assets.shards import ShardIndex
from pipeline_assets.spec import Tuning
from pipeline_assets.training.config import ModelConfig, TrainingConfig, TrainingJob
from tests.training.conftest import preprocessor, write_split

SPACE: dict[str, Any] = {
    "training.learning_rate": {"loguniform": [0.0001, 0.1]},
    "model.options.hidden": {"choice": [[4], [8], [8, 4]]},
}
CODE = """
import json, sys
from pathlib import Path
from pipeline_assets.spec import Tuning
from pipeline_assets.training.config import TrainingJob
from pipeline_assets.tuning.journal import Journal
from pipeline_assets.tuning.study import run_study

def main(folder):
    job = TrainingJob.load(folder / "job.json")
    tuning = Tuning.model_validate_json((folder / "tuning.json").read_text())
    with Journal(folder / "study") as journal:
        run_study(job, tuning, seed=0, journal=journal, listener=lambda trial: None)

if __name__ == "__main__":
    main(Path(sys.argv[1]))
"""


@pytest.fixture
def job(tmp_path: Path) -> TrainingJob:
    """Of a few hundred rows and a perceptron of four units."""
    shards = [
        shard
        for seed, (split, rows) in enumerate({"train": 400, "validation": 150, "test": 50}.items())
        for shard in write_split(tmp_path / "shards", split, rows, seed, None)
    ]
    config = preprocessor()
    index = ShardIndex(
        numeric=tuple(feature.name for feature in config.numeric),
        categorical=tuple(feature.name for feature in config.categorical),
        shards=tuple(shards),
    )
    (tmp_path / "shards" / "index.json").write_text(json.dumps(index.to_dict()))
    return TrainingJob(
        shards=str(tmp_path / "shards"),
        output=str(tmp_path / "model"),
        checkpoints=str(tmp_path / "checkpoints"),
        model=ModelConfig(options={"hidden": [4]}, preprocessor=config),
        training=TrainingConfig(max_epochs=3, batch_size=64, learning_rate=5e-3),
    )


@pytest.fixture
def tuning() -> Callable[..., Tuning]:
    """Makes the `tuning` block."""
    return lambda **keys: Tuning.model_validate({"space": SPACE, **keys})


def start_study(folder: Path, job: TrainingJob, tuning: Tuning) -> subprocess.Popen[str]:
    """Run a study in a process of its own, its journal in `folder / "study"`."""
    (folder / "job.json").write_text(json.dumps(job.to_dict()))
    (folder / "tuning.json").write_text(tuning.model_dump_json())
    script = folder / "run_study.py"
    script.write_text(CODE)
    root = str(Path(__file__).parents[2])
    return subprocess.Popen(
        [sys.executable, str(script), str(folder)],
        env={**os.environ, "PYTHONPATH": root},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
