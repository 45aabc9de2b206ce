"""Training sets from the shards of several partitions, as a reader sees them."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from pipeline_assets.shards import (
    PartitionShards,
    ShardError,
    ShardIndex,
    ShardReader,
    compose_index,
    load_index,
    write_shard,
)

SMALL = {"block_rows": 16, "window_rows": 64}


def partition(
    root: Path, name: str, *rows: int, numeric: tuple[str, ...] = ("amount", "count")
) -> PartitionShards:
    """Write the shards of one partition, all rows in one split."""
    start = int(name.replace("-", "")) * 1000
    shards = []
    for at, count in enumerate(rows):
        ids = np.arange(start, start + count)
        start += count
        file = f"all/shard-{at:05d}.safetensors"
        shards.append(
            write_shard(
                str(root / name / file),
                numeric=np.stack([ids + k for k in range(len(numeric))], 1).astype(np.float32),
                categorical=np.stack([ids], 1),
                label=(ids % 2).astype(np.float32),
                row_id=ids,
                file=file,
                split="all",
            )
        )
    index = ShardIndex(numeric=numeric, categorical=("city",), shards=tuple(shards))
    (root / name).mkdir(parents=True, exist_ok=True)
    (root / name / "index.json").write_text(json.dumps(index.to_dict()))
    return PartitionShards(name, root / name)


def parts(root: Path) -> dict[str, list[PartitionShards]]:
    return {
        "train": [
            partition(root, "2018-07-25", 100, 3),
            partition(root, "2018-07-26"),
            partition(root, "2018-07-27", 57),
        ],
        "validation": [partition(root, "2018-07-28", 40)],
        "test": [partition(root, "2018-08-08", 31)],
    }


def ids(of: list[PartitionShards]) -> np.ndarray:
    return np.concatenate(
        [ShardReader(part.folder, "all").arrays().row_id for part in of if any_rows(part)]
    )


def any_rows(part: PartitionShards) -> bool:
    return load_index(part.folder).rows > 0


@pytest.mark.parametrize("copy", [False, True])
def test_a_reader_sees_the_rows_of_all_partitions_of_a_split(tmp_path: Path, copy: bool) -> None:
    given = parts(tmp_path / "lake")
    index = compose_index(tmp_path / "set", given, copy=copy)
    assert index.split_rows == {"train": 160, "validation": 40, "test": 31}
    for split, partitions in given.items():
        reader = ShardReader(tmp_path / "set", split, verify=True)
        assert np.array_equal(reader.arrays().row_id, ids(partitions))
    linked = tmp_path / "set" / "2018-07-25" / "all" / "shard-00000.safetensors"
    assert linked.is_symlink() != copy


def test_global_batches_do_not_depend_on_ranks(tmp_path: Path) -> None:
    compose_index(tmp_path / "set", parts(tmp_path / "lake"))
    reader = ShardReader(tmp_path / "set", "train", **SMALL)
    alone = [batch.rows.row_id for batch in reader.batches(48, seed=3)]
    ranks = [
        [batch.rows.row_id for batch in reader.batches(48, seed=3, rank=rank, world_size=3)]
        for rank in range(3)
    ]
    assert np.array_equal(np.sort(np.concatenate(alone)), np.sort(reader.arrays().row_id))
    for whole, *slices in zip(alone, *ranks, strict=True):
        assert np.array_equal(whole, np.concatenate(slices))


def test_the_hash_depends_on_names_content_and_roles_but_not_on_the_place(tmp_path: Path) -> None:
    given = parts(tmp_path / "lake")
    here = compose_index(tmp_path / "here", given)
    shutil.copytree(tmp_path / "lake", tmp_path / "elsewhere")
    moved = {
        split: [PartitionShards(p.name, tmp_path / "elsewhere" / p.name) for p in of]
        for split, of in given.items()
    }
    there = compose_index(tmp_path / "there", moved, copy=True)
    assert here.hash == there.hash == load_index(tmp_path / "here").hash
    swapped = compose_index(
        tmp_path / "swapped", {**given, "validation": given["test"], "test": given["validation"]}
    )
    assert swapped.hash != here.hash


def test_partitions_of_different_features_are_refused(tmp_path: Path) -> None:
    given = parts(tmp_path / "lake")
    given["test"] = [partition(tmp_path / "lake", "2018-08-09", 5, numeric=("amount", "days"))]
    message = (
        "partition 2018-08-09 do not have the features of partition 2018-07-25: "
        "lacks numeric count; adds numeric days"
    )
    with pytest.raises(ShardError, match=message):
        compose_index(tmp_path / "set", given)
    given["test"] = [partition(tmp_path / "lake", "2018-08-10", 5, numeric=("count", "amount"))]
    with pytest.raises(ShardError, match="another order"):
        compose_index(tmp_path / "set2", given)


def test_what_cannot_be_a_training_set_is_refused(tmp_path: Path) -> None:
    given = parts(tmp_path / "lake")
    with pytest.raises(ShardError, match="2018-07-25 is given for train and for test"):
        compose_index(tmp_path / "a", {"train": given["train"], "test": given["train"][:1]})
    with pytest.raises(ShardError, match="unknown split 'all'"):
        compose_index(tmp_path / "b", {"all": given["train"]})
    with pytest.raises(ShardError, match="nothing to compose"):
        compose_index(tmp_path / "c", {"train": []})
    compose_index(tmp_path / "d", given)
    with pytest.raises(ShardError, match="already"):
        compose_index(tmp_path / "d", given)
    (given["test"][0].folder / "all" / "shard-00000.safetensors").unlink()
    with pytest.raises(ShardError, match="is missing"):
        compose_index(tmp_path / "e", given)
