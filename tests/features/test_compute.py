"""The feature table on the embedded engine, against values computed by NumPy, and on Apache Spark."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash
from chain import publish_features, publish_validated, rows, use_case

from pipeline_assets.features.compute import FeatureError
from pipeline_assets.lake import Lake, Version
from pipeline_assets.statistics.compute import compute_statistics


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


def read(version: Version) -> pd.DataFrame:
    tables = [pq.read_table(uri) for uri in version.uris("rows")]
    for table in tables:
        ids = table["_row_id"].to_numpy()
        assert (np.diff(ids) > 0).all(), "files are sorted by _row_id"
    return pa.concat_tables(tables).to_pandas().set_index("_row_id").sort_index()


def test_values_types_and_split(spark: Any, lake: Lake) -> None:
    table = rows()
    result, version = publish_features(spark, lake, publish_validated(lake, table), use_case())
    found = read(version)
    source = table.to_pandas().set_index("_row_id").sort_index()
    assert list(found.columns) == [
        "_split",
        "label",
        *(f.name for f in use_case().features.columns),
    ]
    assert [str(found[name].dtype) for name in ("label", "age", "log_balance", "per_product")] == (
        ["float32"] * 4
    )
    np.testing.assert_array_equal(found["label"], source["left"])
    np.testing.assert_allclose(found["age"], source["age"], rtol=1e-6)
    np.testing.assert_allclose(found["log_balance"], np.log1p(source["balance"]), rtol=1e-6)
    per_product = source["balance"] / source["products"].replace(0, np.nan)
    np.testing.assert_allclose(found["per_product"], per_product, rtol=1e-6)
    assert (found["products"] == source["products"].astype(str)).all()
    assert set(found["active"]) == {"true", "false"}
    assert found["city"].fillna("-").tolist() == source["city"].str.lower().fillna("-").tolist()
    hashes = [xxhash.xxh64_intdigest(f"7:{row_id}".encode(), 42) for row_id in found.index]
    bins = np.array(hashes, dtype=np.uint64).view(np.int64) % 4096
    for label in (0, 1):
        ours = found["label"] == label
        last = {
            part: bins[ours & (found["_split"] == part)].max() for part in ("train", "validation")
        }
        expected = np.where(
            bins <= last["train"],
            "train",
            np.where(bins <= last["validation"], "validation", "test"),
        )
        assert (found["_split"][ours] == expected[ours]).all()
    counts = found["_split"].value_counts().to_dict()
    assert result.split_rows == counts
    assert found.groupby("_split")["label"].mean().to_dict() == pytest.approx(result.label_rates)
    assert max(result.label_rates.values()) - min(result.label_rates.values()) < 2e-3
    assert result.rows == 4000
    assert result.lineage["per_product"] == ["balance", "products"]
    assert result.infinite == {}


def test_bytes_do_not_depend_on_the_order_of_rows_or_files(spark: Any, lake: Lake) -> None:
    table = rows()
    shuffled = table.take(np.random.default_rng(5).permutation(len(table)))
    found = {
        publish_features(spark, lake, publish_validated(lake, each, files), use_case())[
            1
        ].data_version
        for each, files in ((table, 1), (shuffled, 4))
    }
    assert len(found) == 1


def test_infinities_become_missing_and_are_counted(spark: Any, lake: Lake) -> None:
    columns = [
        {"name": "huge", "kind": "numeric", "expression": "exp(age * 10) * 1e300"},
        {"name": "age", "kind": "numeric"},
    ]
    case = use_case(columns=columns)
    result, version = publish_features(spark, lake, publish_validated(lake, rows()), case)
    found = read(version)
    assert result.infinite == {"huge": int((~found["age"].isna()).sum())}
    assert found["huge"].isna().all()


@pytest.mark.parametrize(
    ("feature", "message"),
    [
        (
            {"kind": "numeric", "expression": "agee + 1"},
            "unknown column 'agee'.*did you mean 'age'",
        ),
        ({"kind": "numeric", "expression": "no_such(age)"}, "'x'.*refuses.*'no_such.age.'"),
        ({"kind": "numeric", "expression": "upper(city)"}, "'x' is numeric, but .* type string"),
        ({"kind": "categorical", "expression": "age * 2"}, "'x' is categorical, but .* double"),
        ({"kind": "numeric", "expression": "balance / products"}, "'x'.*fails on a row.*nullif"),
    ],
)
def test_expressions_that_cannot_be_computed(
    spark: Any, lake: Lake, feature: dict[str, str], message: str
) -> None:
    case = use_case(columns=[{"name": "age", "kind": "numeric"}, {"name": "x", **feature}])
    with pytest.raises(FeatureError, match=message):
        publish_features(spark, lake, publish_validated(lake, rows()), case)
    assert lake.dataset("small", "features").current() is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0] * 100, "one class only: 0 of 100 rows equal the positive value 1"),
        ([1] * 100, "one class only: 100 of 100"),
        ([1] + [0] * 99, "split has .* 0 positive rows of 100"),
        ([None] + [0, 1, 1] * 33, "100 validated rows gave 99 feature rows with a label"),
    ],
)
def test_labels_that_cannot_be_learnt(
    spark: Any, lake: Lake, values: list[int | None], message: str
) -> None:
    table = rows(100)
    table = table.set_column(table.column_names.index("left"), "left", pa.array(values, pa.int32()))
    with pytest.raises(FeatureError, match=message):
        publish_features(spark, lake, publish_validated(lake, table), use_case())


def test_statistics_of_the_published_features(spark: Any, lake: Lake) -> None:
    _, version = publish_features(spark, lake, publish_validated(lake, rows()), use_case())
    found = compute_statistics(spark, version, use_case())
    train = read(version).query("_split == 'train'")
    assert found.rows["train"] == len(train)
    assert found.split_overlaps == found.repeated_row_ids == 0
    age = train["age"].astype(float)
    assert found.numeric_of("age").mean == pytest.approx(age.mean(), rel=1e-12)
    assert found.numeric_of("age").missing == age.isna().sum()
    assert found.categorical_of("products").top[0].rows == train["products"].value_counts().max()


@pytest.mark.spark
def test_both_engines_give_the_same_bytes_and_statistics(
    spark: Any, apache_spark: Any, lake: Lake
) -> None:
    validated = publish_validated(lake, rows())
    found = []
    for session in (spark, apache_spark):
        _, version = publish_features(session, lake, validated, use_case())
        statistics = compute_statistics(session, version, use_case())
        found.append((version.data_version, statistics))
    assert found[0] == found[1]
