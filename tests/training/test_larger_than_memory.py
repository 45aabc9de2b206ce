"""A training whose shards are four times as large as the memory that it may take."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline_assets.training.config import ModelConfig
from tests.benchmarks.loader import make_columns
from tests.benchmarks.training import VOCABULARY, make_job

LIMIT = 100 << 20
# The kernel refuses anonymous memory beyond the limit. The shards are page cache, which it takes back.
TRAIN = """
import resource, sys
from pathlib import Path
import torch
from pipeline_assets.training.config import TrainingJob
from pipeline_assets.training.heartbeat import Heartbeat
from pipeline_assets.training.parallelize import join_ranks
from pipeline_assets.training.progress import Progress
from pipeline_assets.training.trainer import Trainer

torch.set_num_threads(1)
job = TrainingJob.load(sys.argv[1])
Path(job.output).mkdir()
with Progress(Path(job.output), max_epochs=1, monitor="roc_auc", writes=True) as progress:
    trainer = Trainer(job, join_ranks(), progress, Heartbeat())
    lines = Path("/proc/self/status").read_text().splitlines()
    held = next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmData"))
    resource.setrlimit(resource.RLIMIT_DATA, (held + int(sys.argv[2]), -1))
    trainer.run()
    try:
        trainer.train.arrays()
    except MemoryError:
        print("all rows at once do not fit")
"""


@pytest.mark.heavy
def test_it_trains_within_two_windows(tmp_path: Path) -> None:
    columns = make_columns(2_100_000)
    columns["categorical"] %= VOCABULARY
    job = make_job(tmp_path, columns, batch_size=4096, epochs=1)
    small = ModelConfig(options={"hidden": [4]}, preprocessor=job.model.preprocessor)
    job = dataclasses.replace(job, model=small, verify_shards=False)
    (tmp_path / "job.json").write_text(json.dumps(job.to_dict()))
    assert sum(column.nbytes for column in columns.values()) > 4 * LIMIT
    done = subprocess.run(
        [sys.executable, "-c", TRAIN, str(tmp_path / "job.json"), str(LIMIT)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "all rows at once do not fit" in done.stdout
    assert (tmp_path / "model" / "model.safetensors").exists()
