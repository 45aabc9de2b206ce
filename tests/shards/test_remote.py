"""Shards on an object store, a real S3 server on this machine, read through the cache."""

import os
import resource
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline_assets.shards import (
    CacheSettings,
    PartitionShards,
    ShardCache,
    ShardError,
    ShardReader,
    ShardUnreachable,
    compose_index,
    download,
    fetching,
    load_index,
    refer_to_index,
    remote,
)
from pipeline_assets.shards.reader import verify_shard
from tests.shards.s3_server import Request, S3Server

MakeShards = Callable[..., Path]
SMALL: dict[str, Any] = {"block_rows": 16, "window_rows": 64}

READ = """
import sys
from pipeline_assets.shards import ShardCache, ShardReader
uri, cache = sys.argv[1:]
reader = ShardReader(uri, "train", cache=ShardCache(cache, 10**9), block_rows=16, window_rows=64)
print([batch.rows.row_id.tolist() for batch in reader.batches(48, seed=3)])
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "FIRST_PAUSE_SECONDS", 0.001)


@pytest.fixture
def cache(tmp_path: Path) -> ShardCache:
    return ShardCache(tmp_path / "cache", 10**9)


def upload(s3: S3Server, folder: Path) -> str:
    return s3.upload(folder, uuid.uuid4().hex)


def order(reader: ShardReader) -> list[list[int]]:
    return [batch.rows.row_id.tolist() for batch in reader.batches(48, seed=3)]


def read_in_a_process(uri: str, cache: ShardCache) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", READ, uri, str(cache.folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
    )


def test_order_is_that_of_a_local_folder_and_shards_are_downloaded_once(
    make_shards: MakeShards, s3: S3Server, cache: ShardCache
) -> None:
    folder = make_shards(100, 3, 57, 200)
    uri = upload(s3, folder)
    expected = order(ShardReader(folder, "train", **SMALL))
    # Ranks and runs of one node at the same time.
    processes = [read_in_a_process(uri, cache) for _ in range(3)]
    for process in processes:
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        assert out.strip() == str(expected)
    assert len(s3.downloads()) == 4
    again = ShardReader(uri, "train", cache=cache, **SMALL)
    assert order(again) == expected
    assert again.arrays().row_id.sum() == again.row_id_sum
    assert len(s3.downloads()) == 4
    assert list((cache.folder / "partial").iterdir()) == []


def test_a_killed_download_goes_on_where_it_stopped(
    make_shards: MakeShards, s3: S3Server, cache: ShardCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = upload(s3, make_shards(1000))
    monkeypatch.setattr(download, "PIECE_BYTES", 8000)
    (shard,) = load_index(uri).shards
    victim = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from pipeline_assets.shards import download; download.PIECE_BYTES = 8000\n" + READ,
            uri,
            str(cache.folder),
        ]
    )

    def kill(request: Request) -> None:
        if request.range.startswith("bytes=16000-"):
            victim.kill()

    s3.before = kill
    victim.wait(timeout=60)
    s3.before = lambda request: None
    done = len(s3.downloads())
    reader = ShardReader(uri, "train", cache=cache)
    assert reader.arrays().row_id.sum() == reader.row_id_sum
    ranges = [request.range for request in s3.downloads()[done:]]
    assert ranges == [
        f"bytes={at}-{min(at + 8000, shard.bytes) - 1}" for at in range(16000, shard.bytes, 8000)
    ]


def test_what_was_there_of_a_download_is_verified_too(
    make_shards: MakeShards, s3: S3Server, cache: ShardCache
) -> None:
    uri = upload(s3, make_shards(1000))
    (shard,) = load_index(uri).shards
    (cache.folder / "partial").mkdir(parents=True)
    (cache.folder / "partial" / shard.sha256).write_bytes(bytes(5000))
    reader = ShardReader(uri, "train", cache=cache)
    assert reader.arrays().row_id.sum() == reader.row_id_sum
    ranges = [f"bytes={start}-{shard.bytes - 1}" for start in (5000, 0)]
    assert [request.range for request in s3.downloads()] == ranges


def test_a_shard_that_is_not_what_the_index_says_is_named_and_not_kept(
    make_shards: MakeShards, s3: S3Server, cache: ShardCache
) -> None:
    folder = make_shards(50, 60)
    path = folder / "train/shard-00001.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    uri = upload(s3, folder)
    with pytest.raises(ShardError, match=rf"{uri}/train/shard-00001\.safetensors is corrupted"):
        ShardReader(uri, "train", cache=cache).arrays()
    assert len(list((cache.folder / "shards").iterdir())) == 1


def test_damage_in_the_cache_is_found_and_mended(
    make_shards: MakeShards, s3: S3Server, cache: ShardCache
) -> None:
    uri = upload(s3, make_shards(50, 60))
    expected = order(ShardReader(uri, "train", cache=cache))
    shard = load_index(uri).shards[0]
    content = bytearray(cache.path(shard).read_bytes())
    content[-5] ^= 1
    cache.path(shard).write_bytes(content)
    assert order(ShardReader(uri, "train", cache=cache, verify=True)) == expected
    assert len(s3.downloads()) == 3


def test_what_passes_is_tried_again(
    make_shards: MakeShards, s3: S3Server, cache: ShardCache
) -> None:
    failures = iter([500, 500, 503])
    s3.before = lambda request: next(failures, None)
    uri = upload(s3, make_shards(50))
    assert ShardReader(uri, "train", cache=cache).arrays().row_id.shape == (50,)
    assert next(failures, None) is None


def test_an_outage_is_waited_out(
    make_shards: MakeShards,
    s3: S3Server,
    cache: ShardCache,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(remote, "_WORTH_SAYING_SECONDS", 0.02)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    uri = upload(s3, make_shards(50))
    asked: list[float] = []
    heard: list[float] = []

    def outage(request: Request) -> int | None:
        if not request.range:
            return None
        asked.append(time.monotonic())
        return 500 if len(asked) < 10 else None

    s3.before = outage
    on_progress: Callable[[], None] = lambda: heard.append(time.monotonic())  # noqa: E731
    reader = ShardReader(uri, "train", cache=cache, on_progress=on_progress)
    assert reader.arrays().row_id.shape == (50,)
    assert [moment for moment in heard if asked[0] < moment < asked[-1]]
    assert "trying again for up to" in caplog.text


def test_what_could_not_be_read_ahead_is_asked_for_again_when_it_is_needed(
    make_shards: MakeShards, s3: S3Server, cache: ShardCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "PATIENCE_SECONDS", 0.001)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    folder = make_shards(40, 40)
    uri = upload(s3, folder)
    reader = ShardReader(uri, "train", cache=cache)
    s3.before = lambda request: 500 if request.range else None
    with pytest.raises(ShardUnreachable, match=r"cannot read s3://.*shard-0000\d"):
        order(reader)
    s3.before = lambda request: None
    assert order(reader) == order(ShardReader(folder, "train"))


def test_what_does_not_pass_is_one_sentence_at_once(
    make_shards: MakeShards, s3: S3Server, cache: ShardCache
) -> None:
    with pytest.raises(
        ShardError, match=r"cannot read s3://nowhere/x/index\.json: it is not there"
    ):
        ShardReader("s3://nowhere/x", "train", cache=cache)
    folder = make_shards(50)
    (folder / "train/shard-00000.safetensors").rename(folder / "gone")
    with pytest.raises(ShardError, match=r"/train/shard-00000\.safetensors: it is not there"):
        ShardReader(upload(s3, folder), "train", cache=cache).arrays()
    s3.requests.clear()
    s3.before = lambda request: 403
    with pytest.raises(ShardError, match=r"PermissionError: .*check the credentials"):
        load_index("s3://nowhere/x")
    assert len(s3.requests) <= 2


@pytest.mark.parametrize("uri", ["s3://shop:hush@bucket/x", "http://shop:hush@127.0.0.1:9/x"])
def test_credentials_are_not_shown(uri: str, s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "PATIENCE_SECONDS", 0.001)
    with pytest.raises(ShardError, match=r"cannot read \w+://…@") as raised:
        load_index(uri)
    assert "hush" not in str(raised.value)


def test_a_missing_package_is_named() -> None:
    code = (
        "import sys; sys.modules['s3fs'] = None\n"
        "from pipeline_assets.shards import load_index; load_index('s3://bucket/x')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "install pipeline_assets with the extra s3" in done.stderr
    code = code.replace("s3fs", "gcsfs").replace("s3:", "gs:")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    last = done.stderr.splitlines()[-1]
    assert "shards at gs://bucket/x need a package that is not installed on this machine" in last
    assert "gcsfs" in last and "s3" not in last


def test_who_waits_long_for_an_answer_is_told(
    make_shards: MakeShards,
    s3: S3Server,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    uri = upload(s3, make_shards(50))
    load_index(uri)
    assert "waiting" not in caplog.text
    monkeypatch.setattr(remote, "SLOW_SECONDS", 0.2)
    s3.before = lambda request: time.sleep(0.6)
    load_index(uri)
    assert f"no answer for 0.2 seconds to {uri}/index.json; waiting" in caplog.text


def test_shards_are_downloaded_in_the_order_in_which_they_are_needed(
    make_shards: MakeShards, s3: S3Server, cache: ShardCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "THREADS", 1)
    uri = upload(s3, make_shards(*[40] * 6))
    reader = ShardReader(uri, "train", cache=cache, block_rows=16, window_rows=16)
    first = np.concatenate([batch.rows.row_id for batch in reader.batches(16, start_batch=5)])
    shard_of = np.searchsorted(reader.arrays().row_id, first) // 40
    needed = list(dict.fromkeys(shard_of.tolist()))
    names = [int(request.path[-len("0.safetensors")]) for request in s3.downloads()]
    assert names[: len(needed)] == needed


def test_who_waits_for_a_download_hears_of_its_progress(
    make_shards: MakeShards, s3: S3Server, cache: ShardCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "PIECE_BYTES", 8000)
    uri = upload(s3, make_shards(1000))
    (shard,) = load_index(uri).shards
    own, others = [], []
    # The second reader finds the shard locked by the first, as another process would.
    s3.before = lambda request: time.sleep(0.5) if request.range else None
    readers = [
        ShardReader(uri, "train", cache=cache, on_progress=lambda to=to: to.append(1))
        for to in (own, others)
    ]
    iterators = [reader.batches(100) for reader in readers]
    threads = [threading.Thread(target=next, args=(iterator,)) for iterator in iterators]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pieces = -(-shard.bytes // 8000)
    assert len(s3.downloads()) == pieces
    # And once when the file is hashed.
    assert max(len(own), len(others)) == pieces + 1
    assert min(len(own), len(others)) >= 2


def test_who_verifies_a_shard_hears_of_its_download(
    make_shards: MakeShards, s3: S3Server, cache: ShardCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "PIECE_BYTES", 8000)
    monkeypatch.setenv("PIPELINE_SHARD_CACHE", str(cache.folder))
    uri = upload(s3, make_shards(1000))
    index = load_index(uri)
    heard: list[int] = []
    verify_shard(uri, index, index.shards[0], on_progress=lambda: heard.append(1))
    assert len(s3.downloads()) == -(-index.shards[0].bytes // 8000)
    # And once when the file is hashed.
    assert len(heard) == len(s3.downloads()) + 1


def test_least_recently_used_shards_go_first_and_those_in_use_never(
    make_shards: MakeShards, s3: S3Server, tmp_path: Path
) -> None:
    uris = []
    for rows in (100, 101, 102):
        uris.append(upload(s3, make_shards(rows)))
    shards = [load_index(uri).shards[0] for uri in uris]
    cache = ShardCache(tmp_path / "cache", sum(shard.bytes for shard in shards[:2]) + 100)

    def held() -> list[bool]:
        return [cache.path(shard).exists() for shard in shards]

    for uri in uris[:2]:
        ShardReader(uri, "train", cache=cache).arrays()
    assert held() == [True, True, False]
    os.utime(cache.path(shards[1]), (1, 1))
    ShardReader(uris[2], "train", cache=cache).arrays()
    assert held() == [True, False, True]
    # A living reader keeps its shard, however old it is.
    using = ShardReader(uris[0], "train", cache=cache)
    os.utime(cache.path(shards[0]), (1, 1))
    ShardReader(uris[1], "train", cache=cache).arrays()
    assert held() == [True, True, False]
    other = ShardReader(uris[1], "train", cache=cache)
    with pytest.raises(ShardError, match=r"other readers use .* raise PIPELINE_SHARD_CACHE_GIB"):
        ShardReader(uris[2], "train", cache=cache)
    del using
    assert ShardReader(uris[2], "train", cache=cache).arrays().row_id.shape == (102,)
    assert held() == [False, True, True]
    assert other.rows == 101


def test_leases_of_the_dead_do_not_count(
    make_shards: MakeShards, s3: S3Server, cache: ShardCache
) -> None:
    uri = upload(s3, make_shards(100))
    code = READ + "\nimport os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    done = subprocess.run([sys.executable, "-c", code, uri, str(cache.folder)], check=False)
    assert done.returncode == -9
    assert len(list((cache.folder / "leases").iterdir())) == 1
    other = make_shards(99)
    small = ShardCache(cache.folder, load_index(other).shards[0].bytes)
    ShardReader(upload(s3, other), "train", cache=small).arrays()
    assert not cache.path(load_index(uri).shards[0]).exists()


def test_a_training_set_composed_of_partitions_at_uris(
    make_shards: MakeShards, s3: S3Server, tmp_path: Path
) -> None:
    local = make_shards(100, 30)
    uri = upload(s3, local)
    cache = CacheSettings(folder=str(tmp_path / "cache"), max_bytes=10**9)
    here = compose_index(tmp_path / "here", {"train": [PartitionShards("day", local)]})
    there = compose_index(tmp_path / "there", {"train": [PartitionShards("day", uri)]}, cache=cache)
    assert here.hash == there.hash
    assert s3.downloads() == []
    expected = order(ShardReader(tmp_path / "here", "train"))
    assert order(ShardReader(tmp_path / "there", "train")) == expected
    (tmp_path / "whole").mkdir()
    (tmp_path / "whole/sources.json").write_text("")
    index = refer_to_index(tmp_path / "whole", uri, cache=cache)
    for place in ("there", "whole"):
        assert (tmp_path / place / "sources.json").stat().st_mode & 0o777 == 0o600
    assert index == load_index(tmp_path / "whole") == load_index(local)
    assert order(ShardReader(tmp_path / "whole", "train")) == order(ShardReader(local, "train"))
    assert len(s3.downloads()) == 2
    assert len(list((tmp_path / "cache" / "shards").iterdir())) == 2
    (tmp_path / "whole/sources.json").unlink()
    (tmp_path / "whole/sources.json").mkdir()
    with pytest.raises(ShardError, match=r"whole/sources\.json cannot be read"):
        ShardReader(tmp_path / "whole", "train")


def test_a_cache_that_cannot_be_written_during_a_download_is_one_sentence(
    make_shards: MakeShards, cache: ShardCache
) -> None:
    (shard,) = load_index(make_shards(50)).shards
    lease = cache.lease([shard])
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        with pytest.raises(ShardError, match=r"Too many open files.*; raise the limit"):
            cache.fetch(shard, remote.RemoteFolder("s3://nowhere"))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    (cache.folder / "partial" / shard.sha256).mkdir()
    with pytest.raises(ShardError, match=r"shard cache .* cannot be written: .*; free space"):
        cache.fetch(shard, remote.RemoteFolder("s3://nowhere"))
    lease.close()


def test_settings_of_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PIPELINE_SHARD_CACHE", str(tmp_path))
    monkeypatch.setenv("PIPELINE_SHARD_CACHE_GIB", "1.5")
    assert (ShardCache().folder, ShardCache().max_bytes) == (tmp_path, 3 * 2**29)
    monkeypatch.setenv("PIPELINE_SHARD_CACHE_GIB", "-1")
    with pytest.raises(ShardError, match=r"PIPELINE_SHARD_CACHE_GIB is '-1'"):
        ShardCache()
    (tmp_path / "file").write_text("")
    with pytest.raises(ShardError, match=r"shard cache .*file.* cannot be written"):
        ShardCache(tmp_path / "file", 10).lease([])
