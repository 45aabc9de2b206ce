"""Shards larger than the memory that may be used: speed from a cold disk, time to resume, shuffle quality.

The limit is RLIMIT_DATA, a quarter of the data set: the kernel refuses anonymous memory beyond it. The
page cache is emptied of the shards before each measurement, so an epoch reads every byte from the disk,
as it would where the cache is too small to keep anything until the next one.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np

from pipeline_assets.shards import (
    PartitionShards,
    ShardIndex,
    ShardReader,
    compose_index,
    shuffle_quality,
    write_shard,
)
from pipeline_assets.training.config import (
    CategoricalFeature,
    ModelConfig,
    NumericFeature,
    PreprocessorConfig,
    TrainingConfig,
    TrainingJob,
)
from tests.benchmarks.report import Table

NUMERIC, CATEGORICAL, SHARD_ROWS = 40, 4, 500_000
PIECE = 1 << 20

EPOCH = """
import resource, sys, time
from pipeline_assets.shards import ShardReader
folder, limit, start, batches, size = sys.argv[1], *map(int, sys.argv[2:])
if limit:
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
started = time.perf_counter()
reader = ShardReader(folder, "train")
touched = rows = 0
for batch in reader.batches(size, start_batch=start):
    touched += sum(float(column.flat[0]) for column in batch.rows)
    rows += len(batch.rows.label)
    if batch.index + 1 == start + batches:
        break
seconds = time.perf_counter() - started
peak = next(line for line in open("/proc/self/status") if line.startswith("VmData")).split()[1]
print(seconds, rows, int(peak) >> 10)
"""


# The first start leaves a checkpoint in mid-epoch, the next ones end at their first batch.
RESUME = """
import os, sys, time
before = time.perf_counter()
# Torch does so by itself, when it is asked for deterministic algorithms.
import torch._inductor
from pathlib import Path
from pipeline_assets.training.config import TrainingJob
from pipeline_assets.training.heartbeat import Heartbeat
from pipeline_assets.training.trainer import Trainer
from pipeline_assets.training.worker import train

job = TrainingJob.load(sys.argv[1])
resumes = (Path(job.checkpoints) / "current.json").exists()

class Watch(Heartbeat):
    def batch(self, epoch, batch):
        if resumes or (Path(job.checkpoints) / "current.json").exists():
            print(batch, time.perf_counter() - started, started - before, flush=True)
            os._exit(0)

started = time.perf_counter()
train(job, Watch())
"""


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


def read_batches(
    folder: Path, *, limit: int = 0, start: int = 0, batches: int = 0, size: int
) -> tuple[float, int, int]:
    """Seconds from opening the reader to its last batch, rows, and MiB of anonymous memory mapped then."""
    arguments = [str(folder), *map(str, (limit, start, batches, size))]
    done = subprocess.run(
        [sys.executable, "-c", EPOCH, *arguments], capture_output=True, text=True, check=True
    )
    seconds, rows, mebibytes = done.stdout.split()
    return float(seconds), int(rows), int(mebibytes)


def main(arguments: list[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--batch-size", type=int, default=4096)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args(arguments)
    size, repeats = options.batch_size, range(options.repeats)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        index = write_data(folder, options.rows)
        total = sum(shard.bytes for shard in index.shards)
        speed(folder, total, size, repeats)
        resume(folder, size, repeats)
        quality(folder, size)


def speed(folder: Path, total: int, size: int, repeats: range) -> None:
    """An epoch from a cold disk under the limit, against reading the files."""
    limit = total // 4
    table = Table(
        f"An epoch of {total / 1e9:.2f} GB, anonymous memory limited to {limit >> 20} MiB, cold disk"
    )
    plain, cold = [], []
    for _ in repeats:
        forget(folder)
        plain.append(read_plainly(folder))
        forget(folder)
        cold.append(read_batches(folder, limit=limit, size=size))
    warm = min(read_batches(folder, limit=limit, size=size) for _ in repeats)
    # The disk is not the same from one second to the next: they take turns, and the middle counts.
    disk, (seconds, rows, mebibytes) = median(plain), sorted(cold)[len(cold) // 2]
    speeds = [f"{total / seconds / 1e6:,.0f}" for seconds in (max(plain), min(plain))]
    table.row("plain sequential read", disk, note=f"{speeds[0]} to {speeds[1]} MB/s")
    rate = f"{total / seconds / 1e6:,.0f} MB/s, {rows / seconds:,.0f} rows/s"
    table.row(
        "shuffled batches",
        seconds,
        ratio=disk / seconds,
        aim=0.8,
        note=f"{rate}; {mebibytes} MiB of data segments at the end; ratio of the disk's speed",
    )
    rate = f"{total / warm[0] / 1e6:,.0f} MB/s, {rows / warm[0]:,.0f} rows/s"
    table.row("the same from the page cache", warm[0], note=rate)
    table.print(packages=["numpy"])


def resume(folder: Path, size: int, repeats: range) -> None:
    """Time to the first batch in a new process, anywhere in an epoch, with a cold disk."""
    reader = ShardReader(folder, "train")
    table = Table(f"Opening {reader.rows:,} rows and the first batch of {size:,}, cold disk")
    for share in (0.0, 0.37, 0.99):
        start = int(reader.batch_count(size) * share)
        seconds = []
        for _ in repeats:
            forget(folder)
            seconds.append(read_batches(folder, start=start, batches=1, size=size)[0])
        worst = max(seconds)
        table.row(f"from batch {start:,}", worst, ratio=worst, aim=1.0, at_most=True, note="worst")
    with tempfile.TemporaryDirectory() as name:
        first, *seconds = [resume_training(folder, Path(name), size) for _ in (0, *repeats)]
    worst, imports, batch = max(seconds)
    note = (
        f"worst, imports apart ({imports:.1f} s); first start, which hashes all: {first[0]:.2f} s"
    )
    what = f"a training that goes on at batch {batch:,}"
    table.row(what, worst, ratio=worst, aim=1.0, at_most=True, note=note)
    table.print(packages=["numpy", "torch"])


def resume_training(folder: Path, place: Path, size: int) -> tuple[float, float, int]:
    """Seconds from the start of a rank's training to its first batch (at the first call: to its first
    checkpoint), seconds of imports before, and the number of that batch in the epoch."""
    job = place / "job.json"
    if not job.exists():
        write_data(place / "validation", SHARD_ROWS // 10)
        parts = {
            "train": [PartitionShards("rows", folder)],
            "validation": [PartitionShards("validation", place / "validation")],
        }
        index = compose_index(place / "shards", parts)
        features = index.numeric, index.categorical
        job.write_text(json.dumps(small_job(place, *features, size).to_dict()))
    forget(folder)
    done = subprocess.run(
        [sys.executable, "-c", RESUME, str(job)], capture_output=True, text=True, check=True
    )
    batch, seconds, imports = done.stdout.splitlines()[-1].split()
    return float(seconds), float(imports), int(batch)


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
        training=TrainingConfig(batch_size=size, checkpoint_seconds=1.0),
    )


def quality(folder: Path, size: int) -> None:
    """How well an epoch of rows that lie sorted by label is shuffled."""
    reader = ShardReader(folder, "train")
    found = shuffle_quality(reader, size)
    table = Table(f"Shuffle of {reader.rows:,} rows sorted by label, batches of {size:,}")
    for what, value, perfect in (
        ("rank correlation with the disk", found.disk_correlation, "0"),
        ("rank correlation of two epochs", found.epoch_correlation, "0"),
        ("variance of positives per batch", found.class_balance, "1"),
    ):
        table.row(what, None, note=f"{value:+.4f} (perfect shuffle: {perfect})")
    table.print(packages=["numpy"])


if __name__ == "__main__":
    main()
