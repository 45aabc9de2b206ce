"""The logistic regression of Spark MLlib, fitted on the features where they are, on an Apache Spark engine.

Only the coefficients come back; validation and test rows are scored by them like by any other predictor.
The objective is that of `baselines.logistic_regression` (MLlib divides it by the number of rows), without
its limit on training rows. Sail has no ML commands.

XGBoost's Spark estimator is not here, because it cannot run over Spark Connect. Tried with xgboost 3.2.0
on Apache Spark 4.2.1: `SparkXGBClassifier.fit` first asks `SparkSession.builder.getOrCreate()` for a
session, which over Connect only works with SPARK_REMOTE set, and then reads `session.sparkContext`
(`xgboost/spark/core.py`, `_validate_params`), which Connect refuses with
[JVM_ATTRIBUTE_NOT_SUPPORTED]; the training itself is `dataset.rdd.barrier()`, and RDDs do not exist
in Connect either. So on every engine XGBoost is fed from the shards (`baselines.xgboost`), which hold the
same rows and take one byte a value in memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline_assets.evaluation.baselines import Fitted, design_matrix
from pipeline_assets.evaluation.encoding import Encoding

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from pipeline_assets.spec import UseCase
    from pipeline_assets.statistics import FeatureStatistics


def spark_baselines(
    features: DataFrame, statistics: FeatureStatistics, use_case: UseCase
) -> list[Fitted]:
    """The declared baselines that Spark can fit, for `evaluate(other_baselines=...)`.

    Args:
        features: a version of the asset `features`, with `_split`, `label` and the features.
        statistics: of its training rows.
        use_case: says which baselines are wanted.
    """
    wanted = {*use_case.evaluation.baselines, use_case.evaluation.gate.baseline}
    if "logistic_regression" not in wanted:
        return []
    return [mllib_logistic_regression(features, Encoding.of(statistics, use_case))]


def mllib_logistic_regression(features: DataFrame, encoding: Encoding) -> Fitted:
    """MLlib's logistic regression on the rows whose `_split` is train.

    Raises PySpark's exceptions where the engine has no ML commands.
    """
    from pyspark.ml.classification import LogisticRegression, LogisticRegressionModel
    from pyspark.ml.feature import VectorAssembler

    train = features.where("_split = 'train'")
    rows = train.count()
    expressions = design_expressions(encoding)
    names = [f"_x{position}" for position in range(len(expressions))]
    columns = [f"{sql} AS {name}" for sql, name in zip(expressions, names)]
    matrix = VectorAssembler(inputCols=names, outputCol="_features").transform(
        train.selectExpr("CAST(label AS DOUBLE) AS label", *columns)
    )
    fitted = LogisticRegression(
        featuresCol="_features",
        labelCol="label",
        regParam=1.0 / max(rows, 1),
        elasticNetParam=0.0,
        standardization=False,
        maxIter=1000,
        tol=1e-8,
    ).fit(matrix.select("_features", "label"))
    assert isinstance(fitted, LogisticRegressionModel)
    weights = np.asarray(fitted.coefficients.toArray(), dtype=np.float64)
    intercept = float(fitted.intercept)

    def predict(
        numeric: NDArray[np.float32], categorical: NDArray[np.int64]
    ) -> NDArray[np.floating]:
        logits = design_matrix(numeric, categorical, encoding) @ weights + intercept
        return 1.0 / (1.0 + np.exp(-logits))

    return Fitted(
        name="logistic_regression",
        title="Logistic regression",
        how=(
            "Spark MLlib, L2 with strength 1, standardised numbers and one-hot categories, "
            f"on {rows:,} rows"
        ),
        predict=predict,
    )


def design_expressions(encoding: Encoding) -> list[str]:
    """SQL of the columns of `baselines.design_matrix`, in its order, over a feature version."""
    scaled, missing, categories = [], [], []
    for feature in encoding.numeric:
        gone = f"(`{feature.name}` IS NULL OR isnan(`{feature.name}`))"
        value = (
            f"CASE WHEN {gone} THEN {feature.median!r}D ELSE CAST(`{feature.name}` AS DOUBLE) END"
        )
        scaled.append(f"({value} - {feature.mean!r}D) / {feature.std!r}D")
        missing.append(f"CAST({gone} AS DOUBLE)")
    for feature in encoding.categorical:
        # Compared by hash, as in the shards: no text needs quoting.
        hashed = f"xxhash64(`{feature.name}`)"
        here = f"`{feature.name}` IS NOT NULL"
        categories += [f"CAST({here} AND {hashed} = {item}L AS DOUBLE)" for item in feature.hashes]
        known = ", ".join(f"{item}L" for item in feature.hashes)
        other = f" AND {hashed} NOT IN ({known})" if known else ""
        categories.append(f"CAST({here}{other} AS DOUBLE)")
    return [*scaled, *missing, *categories]
