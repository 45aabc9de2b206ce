"""Shards four times as large as the memory: speed from a cold disk, time to resume, shuffle quality.

The limit is a control group's, a quarter of the data set for anonymous memory and page cache together, the
peer's too; what an epoch read from the disk says whether blocks were lost before they were used. To make
one takes root or a delegated group; without, those rows are left out. The page cache is emptied of the
shards before each measurement.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median

from pipeline_assets.shards import ShardReader, shuffle_quality
from tests.benchmarks.large_shards import forget, write_data, write_job
from tests.benchmarks.report import Table
from tests.memory_limit import memory_limit

FROM_DISK = """
from pathlib import Path
def from_disk():
    lines = Path("/proc/self/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("read_bytes"))
"""

PLAIN = """
import sys
from pathlib import Path
from tests.benchmarks.large_shards import read_plainly
print(read_plainly(Path(sys.argv[1])))
"""

EPOCH = (
    FROM_DISK
    + """
import sys, time
from pipeline_assets.shards import ShardReader
folder, start, batches, size = sys.argv[1], *map(int, sys.argv[2:])
before, started = from_disk(), time.perf_counter()
reader = ShardReader(folder, "train")
touched = rows = 0
for batch in reader.batches(size, start_batch=start):
    touched += sum(float(column.flat[0]) for column in batch.rows)
    rows += len(batch.rows.label)
    if batch.index + 1 == start + batches:
        break
print(time.perf_counter() - started, rows, from_disk() - before)
"""
)

TRAIN = (
    FROM_DISK
    + """
import dataclasses, json, sys
import torch
from pipeline_assets.training.config import TrainingJob
from pipeline_assets.training.worker import train
torch.set_num_threads(1)
job = dataclasses.replace(TrainingJob.load(sys.argv[1]), verify_shards=False)
before = from_disk()
train(job)
epoch = json.loads((Path(job.output) / "metrics.jsonl").read_text())
print(epoch["rows_per_second"], from_disk() - before)
"""
)


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


def read_batches(
    folder: Path,
    *,
    start: int = 0,
    batches: int = 0,
    size: int,
    enter: Callable[[], None] | None = None,
) -> tuple[float, int, int]:
    """Seconds from opening the reader to its last batch, rows, and bytes that came from the disk."""
    seconds, rows, read = _run(EPOCH, folder, start, batches, size, enter=enter)
    return float(seconds), int(rows), int(read)


def _run(code: str, *arguments: object, enter: Callable[[], None] | None = None) -> list[str]:
    """What a new process prints in its last line."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, preexec_fn=enter)
    return done.stdout.splitlines()[-1].split()


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
    table = Table(f"An epoch of {total / 1e9:.2f} GB, {limit >> 20} MiB of memory and page cache")
    plain, cold = [], []
    with memory_limit(limit) as enter:
        for _ in repeats if enter else ():
            forget(folder)
            plain.append(float(_run(PLAIN, folder, enter=enter)[0]))
            forget(folder)
            cold.append(read_batches(folder, size=size, enter=enter))
        if enter is None:
            table.row("limited", None, note="skipped: this user can make no control group")
        else:
            _against_disk(table, total, plain, cold)
            _trained(table, folder, total, size, enter)
    seconds, rows, _ = min(read_batches(folder, size=size) for _ in repeats)
    rate = f"{total / seconds / 1e6:,.0f} MB/s, {rows / seconds:,.0f} rows/s"
    table.row("shuffled batches from the page cache, no limit", seconds, note=rate)
    table.print(packages=["numpy", "torch"])


def _against_disk(
    table: Table, total: int, plain: list[float], cold: list[tuple[float, int, int]]
) -> None:
    # The disk is not the same from one second to the next: they take turns, and the middle counts.
    disk, (seconds, rows, read) = median(plain), sorted(cold)[len(cold) // 2]
    speeds = [f"{total / seconds / 1e6:,.0f}" for seconds in (max(plain), min(plain))]
    table.row("plain sequential read", disk, note=f"{speeds[0]} to {speeds[1]} MB/s")
    rate = f"{total / seconds / 1e6:,.0f} MB/s, {rows / seconds:,.0f} rows/s"
    note = f"{rate}; {read / total:.2f} of the bytes from the disk; ratio of the disk's speed"
    table.row("shuffled batches", seconds, ratio=disk / seconds, aim=0.8, note=note)


def _trained(table: Table, folder: Path, total: int, size: int, enter: Callable[[], None]) -> None:
    """Training under the limit, against training with all memory; both from a cold disk."""
    rates, read = [], 0
    for limited in (None, enter):
        with tempfile.TemporaryDirectory() as name:
            job = write_job(folder, Path(name), size)
            forget(folder)
            rate, read = map(float, _run(TRAIN, job, enter=limited))
            rates.append(rate)
    rows = ShardReader(folder, "train").rows
    note = (
        f"{rates[1]:,.0f} rows/s, {read / total:.2f} of the bytes from the disk; "
        f"ratio of {rates[0]:,.0f} rows/s without limit"
    )
    table.row(
        "an epoch of training", rows / rates[1], ratio=rates[1] / rates[0], aim=0.95, note=note
    )


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
        write_job(folder, place, size)
    forget(folder)
    batch, seconds, imports = _run(RESUME, job)
    return float(seconds), float(imports), int(batch)


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
