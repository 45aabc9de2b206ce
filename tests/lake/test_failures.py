"""Pulling the plug: kill -9 at any moment, full disks, concurrent publishers."""

import os
import random
import resource
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest

from pipeline_assets.lake import Lake, LakeError

# Publishes versions for ever; each holds its number in three files that must agree.
_PUBLISHER = """
import itertools, os, sys
import pyarrow as pa
from pipeline_assets.lake import Lake
from pipeline_assets.lake.parquet import write_parquet

dataset = Lake(sys.argv[1]).dataset("churn", "raw")
for number in itertools.count(int(sys.argv[2])):
    with dataset.stage() as staged:
        staged.write_json("number.json", number)
        rows = pa.table({"number": [number] * 5000})
        entries = [
            write_parquet(rows, staged.path(f"rows/part-{i}.parquet"), path=f"rows/part-{i}.parquet")
            for i in range(2)
        ]
        staged.seal(files=entries, rows=10_000, schema=[("number", "bigint")], metadata={"number": number})
        staged.publish()
    dataset.prune(2)
    print(number, flush=True)
"""


def _check_whole(lake: Lake) -> int:
    """The current version is complete and of one piece; returns its number."""
    version = lake.dataset("churn", "raw").require()
    assert version.verify() == []
    assert len(version.uris("rows", ".parquet")) == 2
    assert version.read_json("number.json") == version.manifest.metadata["number"]
    return version.manifest.metadata["number"]


def test_kill_9_at_any_moment_leaves_a_whole_version(tmp_path: Path) -> None:
    lake, number = Lake(str(tmp_path)), 0
    chance = random.Random(0)
    for _ in range(4):
        command = [sys.executable, "-c", _PUBLISHER, str(tmp_path), str(number + 1)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(chance.uniform(0, 0.15))
            process.send_signal(signal.SIGKILL)
            printed = process.stdout.read().split()
        now = _check_whole(lake)
        # What was reported as published is there; at most the one in progress came on top.
        reported = int(printed[-1]) if printed else number + 1
        assert now in (reported, reported + 1)
        number = now
    # The next publisher goes on as if nothing had been, and cleans up.
    dataset = lake.dataset("churn", "raw")
    with dataset.stage() as staged:
        staged.write_json("number.json", -1)
        staged.seal(rows=0, schema=[])
        staged.publish()
    dataset.prune(1)
    assert dataset.require().read_json("number.json") == -1


# Dies at the n-th step on the storage (flush, rename), for n = 1, 2, … until a publication completes.
_STEP_BY_STEP = """
import os, pathlib, signal, sys
from pipeline_assets.lake import Lake

dataset = Lake(sys.argv[1]).dataset("churn", "raw")

def publish(value):
    with dataset.stage() as staged:
        staged.write_json("number.json", value)
        staged.seal(rows=0, schema=[], metadata={"number": value})
        staged.publish()

publish(0)
step, outcome = 0, signal.SIGKILL
while outcome == signal.SIGKILL:
    step += 1
    child = os.fork()
    if child == 0:
        left = step
        def dying(call):
            def wrapped(*arguments, **options):
                global left
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return call(*arguments, **options)
            return wrapped
        os.fsync = dying(os.fsync)
        pathlib.Path.replace = dying(pathlib.Path.replace)
        publish(step)
        os._exit(0)
    outcome = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    outcome = -outcome
    version = dataset.require()
    assert version.verify() == []
    number = version.read_json("number.json")
    assert number == version.manifest.metadata["number"]
    print(step, number)
"""


def test_kill_9_at_each_step_leaves_the_old_version_or_the_new(tmp_path: Path) -> None:
    found = subprocess.run(
        [sys.executable, "-c", _STEP_BY_STEP, str(tmp_path)], capture_output=True, text=True
    )
    assert found.returncode == 0, found.stderr
    steps = [tuple(map(int, line.split())) for line in found.stdout.splitlines()]
    assert len(steps) > 10
    # Killed before its pointer was renamed it is invisible; afterwards it is current.
    assert [number for _, number in steps[:-2]] == [0] * (len(steps) - 2)
    assert steps[-1][0] == steps[-1][1]


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "tiny"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a small file system: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_keeps_the_previous_version(tiny_disk: Path) -> None:
    dataset = Lake(str(tiny_disk / "lake")).dataset("churn", "raw")
    with dataset.stage() as staged:
        staged.write_bytes("a", b"1" * 1000)
        staged.seal(rows=1, schema=[])
        first = staged.publish()
    with (
        pytest.raises(
            LakeError, match=r"cannot write .*/big: No space left on device.*prune"
        ) as failure,
        dataset.stage() as staged,
    ):
        staged.write_bytes("big", os.urandom(2**20))
    assert isinstance(failure.value.__cause__, OSError)
    current = dataset.require()
    assert current.version == first.version and current.verify() == []
    # The failed attempt gave its space back.
    assert len(list((tiny_disk / "lake/churn/raw/all/versions").iterdir())) == 1


@pytest.mark.parametrize("step", ["seal", "publish"])
def test_a_disk_that_fills_before_manifest_or_pointer(tiny_disk: Path, step: str) -> None:
    dataset = Lake(str(tiny_disk / "lake")).dataset("churn", "raw")
    with dataset.stage() as staged:
        staged.write_bytes("a", b"1")
        staged.seal(rows=1, schema=[])
        first = staged.publish()
    filler = tiny_disk / "filler"

    def fill() -> None:
        with filler.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                return

    with pytest.raises(LakeError, match="No space left on device"), dataset.stage() as staged:
        staged.write_bytes("a", b"2")
        if step == "seal":
            fill()
        staged.seal(rows=1, schema=[])
        fill()
        staged.publish()
    assert dataset.require().version == first.version
    filler.unlink()
    with dataset.stage() as staged:
        staged.write_bytes("a", b"3")
        staged.seal(rows=1, schema=[])
        assert staged.publish().version == dataset.require().version


def test_a_file_over_the_size_limit_is_an_error_too(tmp_path: Path) -> None:
    """The same without root: the process may not write large files."""
    code = textwrap.dedent("""
        import resource, signal, sys
        from pipeline_assets.lake import Lake, LakeError
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
        import pyarrow as pa
        from pipeline_assets.lake.parquet import write_parquet
        staged = Lake(sys.argv[1]).dataset("churn", "raw").stage()
        rows = pa.table({"x": list(range(100_000))})
        for attempt in (
            lambda: staged.write_bytes("big", bytes(20_000)),
            lambda: write_parquet(rows, staged.path("rows/a.parquet")),
        ):
            try:
                attempt()
            except LakeError as error:
                print(error)
        print(staged.storage.files())
    """)
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    found = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, str(tmp_path)], capture_output=True, text=True
    )
    lines = found.stdout.splitlines()
    assert found.stderr == ""
    assert len(lines) == 3 and lines[2] == "{}"
    assert "/big: File too large" in lines[0]
    assert "/rows/a.parquet: File too large" in lines[1]


@pytest.mark.parametrize("kind", ["local", "memory"])
def test_concurrent_publishers_all_complete_and_the_last_pointer_wins(
    tmp_path: Path, kind: str
) -> None:
    lake = Lake(str(tmp_path) if kind == "local" else f"memory://{tmp_path.name}-{time.time_ns()}")
    dataset = lake.dataset("churn", "raw")
    stop = threading.Event()

    def publish(worker: int) -> None:
        for i in range(10):
            with dataset.stage() as staged:
                staged.write_json("value.json", (worker * 10 + i) % 7)  # often equal content
                staged.seal(rows=1, schema=[])
                staged.publish()
            if kind == "local":
                dataset.prune(9)  # a reader needs what it has just found

    def read() -> None:
        while not stop.is_set():
            current = dataset.current()
            if current is not None:
                assert current.read_json("value.json") in range(7)

    with ThreadPoolExecutor(5) as pool:
        reader = pool.submit(read)
        writers = [pool.submit(publish, worker) for worker in range(4)]
        wait(writers)
        stop.set()
        for done in [*writers, reader]:
            done.result()
    assert dataset.require().verify() == []
