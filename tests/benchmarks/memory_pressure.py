"""Shards four times as large as the memory that is free: reading and training when no page stays cached.

A process of its own takes memory until a quarter of the shards' size is available to all others, for
anonymous memory and page cache together; the kernel would end that process first. What an epoch read from the
disk says whether the cache could help. The peer is a plain sequential read of the same files at the same time.
It asks for nearly all memory of the machine: run it by itself.
"""

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import psutil

from tests.benchmarks.large_data import forget, read_plainly, write_data
from tests.benchmarks.loader import make_columns
from tests.benchmarks.report import Table
from tests.benchmarks.training import BATCH, make_job

PIECE = 64 << 20

FILL = """
import sys
from pathlib import Path
import psutil
leave, piece = map(int, sys.argv[1:])
Path("/proc/self/oom_score_adj").write_text("1000")
held = []
while psutil.virtual_memory().available > leave:
    held.append(b"\\x01" * piece)
print("full", flush=True)
sys.stdin.read()
"""

READ = """
import sys, time
from pathlib import Path
from pipeline_assets.shards import ShardReader
def from_disk():
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("read_bytes")).split()[1])
before, started, touched = from_disk(), time.perf_counter(), 0.0
for batch in ShardReader(sys.argv[1], "train").batches(int(sys.argv[2])):
    touched += sum(float(column.flat[0]) for column in batch.rows)
print(time.perf_counter() - started, from_disk() - before)
"""

TRAIN = """
import sys
from pathlib import Path
import torch
from pipeline_assets.training.config import TrainingJob
from pipeline_assets.training.worker import train
torch.set_num_threads(1)
train(TrainingJob.load(sys.argv[1]))
lines = Path("/proc/self/io").read_text().splitlines()
print("read", next(line for line in lines if line.startswith("read_bytes")).split()[1])
"""


@contextmanager
def only_available(size: int) -> Iterator[None]:
    """Take memory until `size` bytes are available."""
    if psutil.swap_memory().total:
        raise SystemExit("this machine swaps: memory that is taken would be written to the disk")
    arguments = [sys.executable, "-c", FILL, str(size), str(PIECE)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            if process.stdout.readline().strip() != b"full":
                raise SystemExit("memory could not be filled")
            yield
        finally:
            process.kill()


def read(folder: Path) -> tuple[float, int]:
    """Seconds for the batches of an epoch in a new process, and bytes that came from the disk."""
    command = [sys.executable, "-c", READ, str(folder), str(BATCH)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, read_bytes = done.stdout.split()
    return float(seconds), int(read_bytes)


def train(folder: Path, shards: Path, name: str) -> tuple[float, int]:
    """Rows per second of an epoch of training in a new process, and bytes that came from the disk."""
    output = folder / name
    output.mkdir()
    job = make_job(folder / f"columns-{name}", make_columns(BATCH), batch_size=BATCH, epochs=1)
    job = dataclasses.replace(
        job,
        shards=str(shards),
        output=str(output),
        checkpoints=str(output / "checkpoints"),
        verify_shards=False,
    )
    path = output / "job.json"
    path.write_text(json.dumps(job.to_dict()))
    command = [sys.executable, "-c", TRAIN, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    metrics = json.loads((output / "metrics.jsonl").read_text().splitlines()[0])
    return metrics["rows_per_second"], int(done.stdout.split("read")[-1])


def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shards = folder / "shards"
        index = write_data(shards, options.rows, validation=BATCH)
        total = sum(shard.bytes for shard in index.shards)
        forget(shards)
        free_rate, _ = train(folder, shards, "free")
        plain, epochs = [], []
        with only_available(total // 4):
            for _ in range(options.repeats):
                plain.append(read_plainly(shards))
                epochs.append(read(shards))
            rate, from_disk = train(folder, shards, "filled")
    table = Table(f"{total / 1e9:.1f} GB of shards, {total >> 22} MiB of memory available")
    disk, mine = median(plain), median(seconds for seconds, _ in epochs)
    speeds = [f"{total / seconds / 1e6:,.0f}" for seconds in (max(plain), min(plain))]
    table.row("plain sequential read", disk, note=f"{speeds[0]} to {speeds[1]} MB/s")
    share = median(read_bytes for _, read_bytes in epochs) / total
    table.row(
        "an epoch of shuffled batches",
        mine,
        ratio=disk / mine,
        aim=0.8,
        note=f"{total / mine / 1e6:,.0f} MB/s, {share:.2f} of the bytes from the disk; ratio of the disk's speed",
    )
    table.row(
        "an epoch of training",
        options.rows / rate,
        ratio=rate / free_rate,
        aim=0.95,
        note=f"{rate:,.0f} rows/s, {from_disk / total:.2f} of the bytes from the disk; "
        f"ratio of {free_rate:,.0f} rows/s with all memory free",
    )
    table.print(packages=["torch", "numpy"])


if __name__ == "__main__":
    main()
