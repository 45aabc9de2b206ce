"""Statistics over several feature versions with given splits: those of one version with the same rows."""

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline_assets.lake import Lake, Version
from pipeline_assets.statistics.compute import (
    compute_statistics,
    compute_training_set_statistics,
)
from tests.statistics.test_statistics import CATEGORICAL, assert_same, frame, use_case

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def publish(lake: Lake, partition: str, table: pd.DataFrame, files: int = 2) -> Version:
    """Publish a feature version as `features` would: bucketed by row id."""
    bucket = table["_row_id"].to_numpy().view(np.uint64) % np.uint64(files)
    with lake.dataset("sample", "features").stage(partition) as staged:
        for number in range(files):
            part = pa.Table.from_pandas(table[bucket == number], preserve_index=False)
            for name in CATEGORICAL:
                at = part.schema.get_field_index(name)
                part = part.set_column(at, name, part[name].cast(pa.string()))
            buffer = io.BytesIO()
            pq.write_table(part, buffer)
            staged.write_bytes(f"rows/part-{number:05d}.parquet", buffer.getvalue())
        staged.seal(rows=len(table), schema=[("_row_id", "bigint")])
        return staged.publish()


def cut(table: pd.DataFrame) -> dict[str, list[pd.DataFrame]]:
    """The rows as partitions: three of training, one of which is empty, one of each other split."""
    rows = {split: of.drop(columns="_split") for split, of in table.groupby("_split")}
    train = rows["train"]
    return {
        "train": [train[:900], train[:0], train[900:]],
        "validation": [rows["validation"]],
        "test": [rows["test"]],
    }


def check(spark: "SparkSession", folder: Path) -> None:
    lake = Lake(str(folder))
    table = frame()
    parts = {
        split: [publish(lake, f"{split}-{at}", part) for at, part in enumerate(of)]
        for split, of in cut(table).items()
    }
    found = compute_training_set_statistics(spark, parts, use_case())
    one = compute_statistics(spark, publish(lake, "all", table), use_case())
    assert_same(one.to_dict(), found.to_dict())
    assert found.repeated_row_ids == found.split_overlaps == 0


def test_equal_to_those_of_one_version(spark: "SparkSession", tmp_path: Path) -> None:
    check(spark, tmp_path)


@pytest.mark.spark
@pytest.mark.heavy
def test_equal_to_those_of_one_version_on_spark(
    apache_spark: "SparkSession", tmp_path: Path
) -> None:
    check(apache_spark, tmp_path)


def test_equal_row_ids_are_found_across_versions(spark: "SparkSession", tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    parts = cut(frame(600))
    train, test = parts["train"][0], parts["test"][0]
    parts["train"].append(train.head(4))  # repeated within training: four rows
    parts["test"].append(train.tail(3))  # in training and test: three ids
    parts["test"][0] = pd.concat([test, test.head(1)])
    versions = {
        split: [publish(lake, f"{split}-{at}", part) for at, part in enumerate(of)]
        for split, of in parts.items()
    }
    found = compute_training_set_statistics(spark, versions, use_case())
    assert (found.repeated_row_ids, found.split_overlaps) == (8, 3)


def test_no_training_rows_are_refused(spark: "SparkSession", tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    parts = cut(frame(100))
    empty = publish(lake, "2018-04-01", parts["train"][1])
    with pytest.raises(ValueError, match="no training rows"):
        compute_training_set_statistics(
            spark, {"train": [empty], "test": [publish(lake, "t", parts["test"][0])]}, use_case()
        )
    with pytest.raises(ValueError, match="no splits are named training"):
        compute_training_set_statistics(spark, {"training": [empty]}, use_case())
    with pytest.raises(ValueError, match="no rows"):
        compute_training_set_statistics(spark, {}, use_case())
