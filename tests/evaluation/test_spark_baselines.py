import numpy as np
import pandas as pd
import pytest
from pyspark.sql.connect.session import SparkSession

from pipeline_assets.evaluation.baselines import design_matrix, logistic_regression
from pipeline_assets.evaluation.encoding import CategoricalEncoding, Encoding, NumericEncoding
from pipeline_assets.evaluation.rows import ArrayRows, Block
from pipeline_assets.evaluation.spark_baselines import (
    design_expressions,
    mllib_logistic_regression,
)
from pipeline_assets.shards.hashing import hash_categories

VALUES = ("it's", 'a "b"', "c\\d")
ENCODING = Encoding(
    numeric=(
        NumericEncoding(name="x", mean=0.25, std=1.5, median=0.1),
        NumericEncoding(name="y", mean=-1e-7, std=2.0, median=0.0),
    ),
    categorical=(
        CategoricalEncoding(
            name="c", values=VALUES, hashes=tuple(hash_categories(VALUES).tolist())
        ),
    ),
)


@pytest.fixture(scope="module")
def rows():
    random = np.random.default_rng(0)
    size = 600
    frame = pd.DataFrame(
        {
            "_split": np.where(np.arange(size) % 4 == 0, "test", "train"),
            "x": random.normal(size=size).astype("float32"),
            "y": random.normal(size=size).astype("float32"),
            "c": random.choice([*VALUES, "unknown", None], size),
        }
    )
    frame.loc[::7, "y"] = np.nan
    logit = frame.x - (frame.c == VALUES[0]) * 1.5
    frame["label"] = (random.random(size) < 1 / (1 + np.exp(-logit))).astype("float32")
    return frame


def _block(frame):
    return Block(
        frame[["x", "y"]].to_numpy(np.float32),
        hash_categories(frame.c).reshape(-1, 1),
        frame.label.to_numpy(),
        np.arange(len(frame)),
    )


def test_the_sql_columns_are_those_of_the_design_matrix(spark, rows):
    import pyarrow as pa

    block = _block(rows)
    table = pa.Table.from_pandas(rows.assign(n=np.arange(len(rows))), preserve_index=False)
    columns = [f"{sql} AS x{i}" for i, sql in enumerate(design_expressions(ENCODING))]
    found = spark.createDataFrame(table).selectExpr("n", *columns).toPandas().sort_values("n")
    expected = design_matrix(block.numeric, block.categorical, ENCODING).toarray()
    np.testing.assert_allclose(found.drop(columns="n").to_numpy(), expected, rtol=1e-12)


@pytest.mark.spark
@pytest.mark.heavy
def test_mllib_finds_what_scikit_learn_finds(apache_spark, rows, monkeypatch):
    # MLlib asks the active session, which other tests have on the embedded engine.
    monkeypatch.setattr(SparkSession, "_default_session", apache_spark)
    monkeypatch.setattr(SparkSession._active_session, "session", apache_spark, raising=False)
    import pyarrow as pa

    table = pa.Table.from_pandas(rows, preserve_index=False)
    spark_fit = mllib_logistic_regression(apache_spark.createDataFrame(table), ENCODING)
    train, test = (_block(rows[rows._split == split]) for split in ("train", "test"))
    ours = logistic_regression(ArrayRows(train), ENCODING, 0)
    np.testing.assert_allclose(
        spark_fit.predict(test.numeric, test.categorical),
        ours.predict(test.numeric, test.categorical),
        atol=2e-3,
    )
