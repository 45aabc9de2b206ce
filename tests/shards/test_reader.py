"""The order of batches, its independence of ranks, and what damaged shards say."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline_assets.shards import ShardError, ShardReader, write_shard

SMALL = {"block_rows": 16, "window_rows": 64}


def ids(reader: ShardReader, batch_size: int, **order: object) -> list[np.ndarray]:
    return [batch.rows.row_id for batch in reader.batches(batch_size, **order)]  # type: ignore[arg-type]


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("rows", [(1,), (64, 64), (100, 3, 57), (1000,)])
@pytest.mark.parametrize("batch_size", [1, 7, 64, 5000])
def test_an_epoch_has_every_row_once(
    make_shards: Callable[..., Path], rows: tuple[int, ...], batch_size: int, shuffle: bool
) -> None:
    reader = ShardReader(make_shards(*rows), "train", **SMALL)
    seen = ids(reader, batch_size, shuffle=shuffle)
    assert [len(part) for part in seen[:-1]] == [batch_size] * (len(seen) - 1)
    assert len(seen) == reader.batch_count(batch_size)
    joined = np.concatenate(seen)
    assert np.array_equal(np.sort(joined), np.sort(reader.arrays().row_id))
    assert joined.sum(dtype=np.int64) == reader.row_id_sum
    if not shuffle:
        assert np.array_equal(joined, reader.arrays().row_id)


@pytest.mark.parametrize("world_size", [2, 3, 8])
@pytest.mark.parametrize("batch_size", [5, 48, 130])
def test_global_batches_do_not_depend_on_ranks(
    make_shards: Callable[..., Path], world_size: int, batch_size: int
) -> None:
    reader = ShardReader(make_shards(100, 3, 57), "train", **SMALL)
    alone = ids(reader, batch_size, seed=3, epoch=2)
    parts = [
        ids(reader, batch_size, seed=3, epoch=2, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    for whole, *slices in zip(alone, *parts, strict=True):
        assert np.array_equal(whole, np.concatenate(slices))
        lengths = [len(part) for part in slices]
        assert max(lengths) - min(lengths) <= 1


def test_any_batch_is_found_without_replay(make_shards: Callable[..., Path]) -> None:
    reader = ShardReader(make_shards(100, 3, 57), "train", **SMALL)
    whole = ids(reader, 9, epoch=1)
    for start in range(len(whole) + 1):
        resumed = ids(reader, 9, epoch=1, start_batch=start)
        assert len(resumed) == len(whole) - start
        assert all(np.array_equal(a, b) for a, b in zip(whole[start:], resumed))


def test_columns_of_a_row_stay_together(make_shards: Callable[..., Path]) -> None:
    reader = ShardReader(make_shards(300, 211), "train", **SMALL)
    for batch in reader.batches(50, seed=1):
        rows = batch.rows
        assert np.array_equal(rows.categorical[:, 1], rows.row_id + 1)
        assert np.array_equal(rows.numeric[:, 2], (rows.row_id % 1009 + 2).astype(np.float32))
        assert np.array_equal(rows.label, (rows.row_id % 2).astype(np.float32))


def test_order_changes_with_seed_and_epoch_and_repeats_otherwise(
    make_shards: Callable[..., Path],
) -> None:
    reader = ShardReader(make_shards(500), "train", **SMALL)
    first = np.concatenate(ids(reader, 50, seed=0, epoch=0))
    assert np.array_equal(first, np.concatenate(ids(reader, 50, seed=0, epoch=0)))
    assert not np.array_equal(first, np.concatenate(ids(reader, 50, seed=0, epoch=1)))
    assert not np.array_equal(first, np.concatenate(ids(reader, 50, seed=1, epoch=0)))


def test_a_split_within_one_window_is_shuffled_well(make_shards: Callable[..., Path]) -> None:
    reader = ShardReader(make_shards(3000, 3000), "train")
    order = np.argsort(np.argsort(reader.arrays().row_id))
    position = dict(zip(reader.arrays().row_id, order))
    shuffled = np.array([position[row] for row in np.concatenate(ids(reader, 100))])
    # Rank correlation of the order read and the order stored: within four standard errors of zero.
    correlation = np.corrcoef(np.arange(6000), shuffled)[0, 1]
    assert abs(correlation) < 4 / np.sqrt(6000)


def test_blocks_of_ranks_follow_each_other(make_shards: Callable[..., Path]) -> None:
    reader = ShardReader(make_shards(100, 3, 57), "train")
    parts = [
        block.row_id
        for rank in range(3)
        for block in reader.iter_blocks(16, rank=rank, world_size=3)
    ]
    assert max(map(len, parts)) <= 16
    assert np.array_equal(np.concatenate(parts), reader.arrays().row_id)


def test_verify_names_the_corrupted_shard(make_shards: Callable[..., Path]) -> None:
    folder = make_shards(50, 50)
    path = folder / "train/shard-00001.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    ShardReader(folder, "train")
    with pytest.raises(ShardError, match=r"shard-00001\.safetensors is corrupted"):
        ShardReader(folder, "train", verify=True)


def test_truncated_missing_and_empty_shards_are_named(make_shards: Callable[..., Path]) -> None:
    folder = make_shards(50, 50)
    path = folder / "train/shard-00000.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ShardError, match=r"shard-00000.* bytes, the index says"):
        ShardReader(folder, "train")
    path.write_bytes(b"")
    with pytest.raises(ShardError, match=r"shard-00000.* has 0 bytes, the index says"):
        ShardReader(folder, "train")
    path.unlink()
    with pytest.raises(ShardError, match=r"shard-00000.*is missing"):
        ShardReader(folder, "train")


def test_absent_index_and_absent_split(make_shards: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(ShardError, match=r"no rows of split 'test'"):
        ShardReader(make_shards(5), "test")
    with pytest.raises(ShardError, match=r"materialise tensor_shards first"):
        ShardReader(tmp_path / "nowhere", "train")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("sha256", "../../victim"),
        ("sha256", "A" * 64),
        ("sha256", "0" * 64 + "\n"),
        ("sha256", 7),
        ("file", "../victim"),
        ("file", "train/../../victim"),
        ("file", "/victim"),
        ("file", "day//victim"),
        ("file", ""),
        ("file", None),
    ],
)
def test_an_index_that_leads_out_of_its_folder_is_refused(
    make_shards: Callable[..., Path], key: str, value: object
) -> None:
    folder = make_shards(50, 60)
    index = json.loads((folder / "index.json").read_text())
    index["shards"][1][key] = value
    (folder / "index.json").write_text(json.dumps(index))
    with pytest.raises(ShardError) as raised:
        ShardReader(folder, "train")
    assert str(raised.value).startswith(f"{folder}: shard 1 of the index")
    assert repr(value) in str(raised.value)


def test_the_index_itself_and_local_uris_name_the_folder_too(
    make_shards: Callable[..., Path],
) -> None:
    folder = make_shards(50)
    expected = ShardReader(folder, "train").arrays().row_id
    for place in (folder / "index.json", f"file://{folder}", f"file://{folder}/index.json"):
        assert np.array_equal(ShardReader(place, "train").arrays().row_id, expected)


def test_no_numeric_or_no_categorical_features(tmp_path: Path) -> None:
    shard = write_shard(
        str(tmp_path / "a.safetensors"),
        numeric=np.empty((3, 0)),
        categorical=np.empty((3, 0)),
        label=np.array([0, 1, 1]),
        row_id=np.arange(3),
    )
    assert (shard.rows, shard.label_sum, shard.row_id_sum) == (3, 2.0, 3)


def test_same_rows_give_the_same_bytes_and_a_missing_label_is_refused(tmp_path: Path) -> None:
    rows = {
        "numeric": np.ones((2, 1)),
        "categorical": np.ones((2, 1)),
        "row_id": np.array([7, 9]),
    }
    label = np.array([0.0, 1.0])
    a = write_shard(str(tmp_path / "a"), **rows, label=label)
    b = write_shard(str(tmp_path / "b"), **rows, label=label)
    assert a.sha256 == b.sha256
    with pytest.raises(ShardError, match=r"1 of 2 labels are missing.*row_id 9"):
        write_shard(str(tmp_path / "c"), **rows, label=np.array([0.0, np.nan]))
    assert not (tmp_path / "c").exists()
    with pytest.raises(ShardError, match=r"do not agree"):
        write_shard(str(tmp_path / "c"), **rows, label=np.zeros(3))


@pytest.mark.parametrize("seed", range(12))
def test_batches_are_the_positions_of_the_epoch_cut_by_batch_and_rank(
    make_shards: Callable[..., Path], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    folder = make_shards(*rng.integers(1, 300, rng.integers(1, 6)))
    block_rows = int(rng.integers(1, 40))
    window_rows = block_rows * int(rng.integers(1, 9))
    reader = ShardReader(folder, "train", block_rows=block_rows, window_rows=window_rows)
    stored = reader.arrays()
    for _ in range(8):
        world_size, batch_size = int(rng.integers(1, 10)), int(rng.integers(1, 120))
        start = int(rng.integers(0, reader.batch_count(batch_size)))
        order = reader.positions(seed=seed, epoch=1)
        parts = [
            [
                batch.rows
                for batch in reader.batches(
                    batch_size,
                    seed=seed,
                    epoch=1,
                    rank=rank,
                    world_size=world_size,
                    start_batch=start,
                )
            ]
            for rank in range(world_size)
        ]
        for at, found in enumerate(zip(*parts, strict=True), start):
            rows = order[at * batch_size : (at + 1) * batch_size]
            bounds = [rank * len(rows) // world_size for rank in range(world_size + 1)]
            for rank, mine in enumerate(found):
                expected = rows[bounds[rank] : bounds[rank + 1]]
                for column, whole in zip(mine, stored):
                    assert np.array_equal(column, whole[expected])
                    assert column.flags.owndata and column.flags.writeable


@pytest.mark.parametrize("offset", [10**6, -(10**6), 10**30, 0.5, None])
def test_columns_beyond_the_file_are_a_damaged_shard(
    make_shards: Callable[..., Path], offset: object
) -> None:
    folder = make_shards(50, 50)
    path = folder / "train/shard-00001.safetensors"
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header["label"]["data_offsets"][0] = offset
    text = json.dumps(header).encode()
    path.write_bytes((len(text).to_bytes(8, "little") + text + content)[: len(content)])
    with pytest.raises(ShardError, match=r"shard-00001\.safetensors has a damaged header"):
        ShardReader(folder, "train").arrays()
