"""What a reader holds and touches: two windows, whatever the size of the data set; at a resume only them."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline_assets.shards import ShardReader
from tests.memory_limit import memory_limit

MakeShards = Callable[..., Path]

# The kernel refuses anonymous memory beyond the limit; the mapped files are page cache, which it
# takes back when it needs it, and do not count.
EPOCH = """
import resource, sys, threading
import numpy as np
from pathlib import Path
from pipeline_assets.shards import ShardReader

def data_bytes():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmData"))

threading.stack_size(256 << 10)
limit, window_rows, world_size = map(int, sys.argv[2:])
reader = ShardReader(sys.argv[1], "train", window_rows=window_rows)
next(reader.batches(64))
resource.setrlimit(resource.RLIMIT_DATA, (data_bytes() + limit, -1))
rows = sum(len(b.rows.label) for b in reader.batches(256, epoch=1, world_size=world_size))
print(rows * world_size == reader.rows)
try:
    reader.arrays()
except MemoryError:
    print("all rows at once do not fit")
"""


@pytest.mark.parametrize(("window_rows", "world_size"), [(8192, 1), (32768, 8)])
def test_an_epoch_of_four_times_the_memory_that_may_be_used(
    make_shards: MakeShards, window_rows: int, world_size: int
) -> None:
    folder = make_shards(*[40_000] * 4, numeric=40, categorical=4)
    row_bytes = 40 * 4 + 4 * 8 + 20
    # This rank's rows of two windows and their order, a batch, and what the allocator keeps.
    limit = 2 * window_rows * (row_bytes + 8) // world_size + (4 << 20)
    assert ShardReader(folder, "train").rows * row_bytes > 4 * limit
    done = subprocess.run(
        [sys.executable, "-c", EPOCH, str(folder), *map(str, (limit, window_rows, world_size))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines() == ["True", "all rows at once do not fit"], done.stderr


READ = """
import sys
from pathlib import Path
from pipeline_assets.shards import ShardReader

def from_disk():
    lines = Path("/proc/self/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("read_bytes"))

reader = ShardReader(sys.argv[1], "train", window_rows=16_384)
for block in reader.iter_blocks(1024):
    block.label.sum()
before = from_disk()
rows = sum(len(batch.rows.label) for batch in reader.batches(1024))
share = (from_disk() - before) / sum(shard.bytes for shard in reader.shards)
print(rows == reader.rows, share, before)
"""


def test_an_epoch_reads_everything_once_where_the_page_cache_holds_a_quarter(
    make_shards: MakeShards,
) -> None:
    folder = make_shards(*[200_000] * 8, numeric=40, categorical=4)
    size = 1_600_000 * (40 * 4 + 4 * 8 + 12)
    with memory_limit(size // 4) as limited:
        if limited is None:
            pytest.skip("this user can make no control group of limited memory")
        for path in folder.rglob("*.safetensors"):
            with path.open("rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        done = subprocess.run(
            [sys.executable, "-c", READ, str(folder)],
            capture_output=True,
            text=True,
            check=True,
            preexec_fn=limited,
            timeout=60,
        )
    complete, share, first_pass = done.stdout.split()
    if first_pass == "0":
        pytest.skip("the temporary folder is in memory")
    assert complete == "True"
    # Blocks begin and end within pages.
    assert 0.9 < float(share) < 1.3


def test_a_resume_reads_nothing_but_the_shards_that_it_needs(make_shards: MakeShards) -> None:
    folder = make_shards(*[40] * 50)
    small = {"block_rows": 16, "window_rows": 16}
    reader = ShardReader(folder, "train", **small)  # type: ignore[arg-type]
    start = 70
    wanted = next(reader.batches(10, seed=1, epoch=4, start_batch=start)).rows.row_id
    # Of the window that the batch is in, and of the next one, which is read ahead.
    positions = reader.positions(seed=1, epoch=4)[start * 10 : start * 10 + 40]
    needed = set((positions // 40).tolist())
    damaged = 0
    for number, shard in enumerate(reader.shards):
        if number not in needed:
            (folder / shard.file).write_bytes(bytes(shard.bytes))
            damaged += 1
    assert damaged > 40
    resumed = ShardReader(folder, "train", **small)  # type: ignore[arg-type]
    first = next(resumed.batches(10, seed=1, epoch=4, start_batch=start))
    assert np.array_equal(first.rows.row_id, wanted)


MANY = """
import resource, sys
from pathlib import Path
from pipeline_assets.shards import ShardError, ShardReader
limit = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
train, validation = (ShardReader(sys.argv[1], split) for split in ("train", "validation"))
for epoch in range(2):
    rows = sum(len(batch.rows.label) for batch in train.batches(64, epoch=epoch))
    rows += sum(len(block.label) for block in validation.iter_blocks(64))
print(rows)
del train
resource.setrlimit(resource.RLIMIT_NOFILE, (len(list(Path("/proc/self/fd").iterdir())) - 1, limit))
try:
    ShardReader(sys.argv[1], "train").arrays()
except ShardError as error:
    print(error)
"""


def test_files_of_all_readers_are_within_the_limit_of_the_process(make_shards: MakeShards) -> None:
    folder = make_shards(*[3] * 90)
    index = json.loads((folder / "index.json").read_text())
    validation = [entry | {"split": "validation"} for entry in index["shards"]]
    (folder / "index.json").write_text(json.dumps(index | {"shards": index["shards"] + validation}))
    done = subprocess.run(
        [sys.executable, "-c", MANY, str(folder), "128"], capture_output=True, text=True, check=True
    )
    rows, *message = done.stdout.splitlines()
    assert rows == "540"
    assert "Too many open files" in message[0] and "ulimit -n" in message[0]
