"""Shards written by engine tasks: the same rows, hashes and bytes whatever the engine."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipeline_assets.lake import Lake
from pipeline_assets.shards import (
    ShardIndex,
    ShardReader,
    hash_categories,
    load_index,
    write_shards,
)

ROWS = 500
CITIES = ["Bern", "Zürich", "", None, "x" * 10_000]


def features() -> pa.Table:
    rng = np.random.default_rng(0)
    age = rng.normal(40, 10, ROWS).astype(np.float32)
    age[::17] = np.nan
    return pa.table(
        {
            "_row_id": rng.integers(-(2**63), 2**63 - 1, ROWS),
            "_split": rng.choice(["train", "validation", "test"], ROWS, p=[0.7, 0.2, 0.1]),
            "label": rng.integers(0, 2, ROWS).astype(np.float32),
            "age": age,
            "odd name": np.arange(ROWS, dtype=np.float32),
            "city": [CITIES[k % 5] for k in range(ROWS)],
        }
    )


def write(spark: Any, folder: Path, table: pa.Table) -> tuple[ShardIndex, Path]:
    staged = Lake(str(folder)).dataset("churn", "tensor_shards").stage()
    index = write_shards(
        spark.createDataFrame(table),
        numeric=["age", "odd name"],
        categorical=["city"],
        staged=staged,
        buckets=3,
    )
    return index, Path(staged.uri.removeprefix("file://"))


def check_against(table: pa.Table, index: ShardIndex, folder: Path) -> None:
    assert index == load_index(folder)
    assert index.rows == ROWS
    columns = {name: table.column(name).to_numpy() for name in ("_row_id", "label", "age")}
    hashes = hash_categories(table.column("city").to_pylist())
    split = np.array(table.column("_split").to_pylist())
    position = {row: at for at, row in enumerate(columns["_row_id"])}
    for name in ("train", "validation", "test"):
        reader = ShardReader(folder, name, verify=True)
        rows = reader.arrays()
        at = np.array([position[row] for row in rows.row_id])
        assert sorted(at) == sorted(np.flatnonzero(split == name))
        assert np.array_equal(rows.label, columns["label"][at])
        assert np.array_equal(rows.numeric[:, 0], columns["age"][at], equal_nan=True)
        assert np.array_equal(rows.numeric[:, 1], at.astype(np.float32))
        assert np.array_equal(rows.categorical[:, 0], hashes[at])
        assert index.row_id_sums[name] == sum(map(int, rows.row_id)) % 2**64
        assert index.positives(name) == rows.label.sum()
        for shard in reader.shards:
            assert shard.rows > 0
        for block in reader.iter_blocks(ROWS):
            assert np.all(np.diff(block.row_id) > 0)


def test_rows_hashes_and_order(spark: Any, tmp_path: Path) -> None:
    index, folder = write(spark, tmp_path, features())
    check_against(features(), index, folder)


def test_bytes_do_not_depend_on_the_order_of_rows(spark: Any, tmp_path: Path) -> None:
    table = features()
    shuffled = table.take(np.random.default_rng(1).permutation(ROWS))
    assert write(spark, tmp_path / "a", table)[0] == write(spark, tmp_path / "b", shuffled)[0]


@pytest.mark.spark
def test_same_bytes_on_apache_spark(spark: Any, apache_spark: Any, tmp_path: Path) -> None:
    sail = write(spark, tmp_path / "a", features())[0]
    assert sail == write(apache_spark, tmp_path / "b", features())[0]


def test_category_hashes_are_the_engines(spark: Any) -> None:
    texts = ["a", "", "Zürich", "日本", "x" * 10_000]
    table = spark.createDataFrame(pa.table({"t": texts})).selectExpr("t", "xxhash64(t) AS h")
    expected = {row["t"]: row["h"] for row in table.collect()}
    assert hash_categories(texts).tolist() == [expected[text] for text in texts]
    assert hash_categories([None, float("nan")]).tolist() == [0, 0]  # type: ignore[list-item]
    with pytest.raises(TypeError, match=r"got 3"):
        hash_categories([3])  # type: ignore[list-item]


def test_unknown_split_and_missing_label_are_refused(spark: Any, tmp_path: Path) -> None:
    table = features()
    odd = table.set_column(1, "_split", pa.array(["holdout"] * ROWS))
    with pytest.raises(Exception, match=r"unknown split.*holdout"):
        write(spark, tmp_path / "a", odd)
    unlabelled = table.set_column(2, "label", pa.array([None] * ROWS, pa.float32()))
    with pytest.raises(Exception, match=r"labels are missing"):
        write(spark, tmp_path / "b", unlabelled)
