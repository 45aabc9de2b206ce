"""What the model is compared with, trained on the same rows: majority, logistic regression, XGBoost.

Each function fits on the training rows (and stops early on the validation rows where it can) and returns
a `Fitted`. Baselines that Spark trains are in `spark_baselines`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline_assets.evaluation.encoding import Encoding
from pipeline_assets.evaluation.rows import Block, Rows, gather

Predict = Callable[[NDArray[np.float32], NDArray[np.int64]], NDArray[np.floating]]
"""(numeric [n, F], categorical hashes [n, C]) to probabilities [n]."""

LOGISTIC_ROWS = 2_000_000
"""Logistic regression takes at most so many training rows (its matrix is held in memory)."""

XGBOOST_ROUNDS = 2000
"""Trees at most."""
XGBOOST_PATIENCE = 50
"""Trees without a better validation score before it stops."""
XGBOOST_PARAMETERS = {
    "objective": "binary:logistic",
    "eval_metric": "auc",
    "tree_method": "hist",
    "learning_rate": 0.05,
    "max_depth": 5,
    "min_child_weight": 5,
    "subsample": 0.8,
    "colsample_bytree": 0.8,
    "max_cat_to_onehot": 16,
}
"""Common settings for tables of this size; the number of trees comes from early stopping."""


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """A fitted predictor."""

    name: str
    title: str
    how: str
    """One sentence for the report."""
    predict: Predict


def majority(train: Rows) -> Fitted:
    """Predicts the training rows' label rate for every row."""
    rate = sum(float(block.label.sum()) for block in train.blocks()) / max(train.rows, 1)
    return Fitted(
        name="majority",
        title="Majority class",
        how=f"the training rows' label rate ({rate:.4f}) for every row",
        predict=lambda numeric, categorical: np.full(len(numeric), rate),
    )


def logistic_regression(train: Rows, encoding: Encoding, seed: int) -> Fitted:
    """scikit-learn's logistic regression (L2, C = 1) on standardised numbers and one-hot categories.

    Missing numbers become the median and set an indicator. Of more than `LOGISTIC_ROWS` training rows a
    random part of that size is taken; the report says so. With one class only it predicts that class.
    """
    from sklearn.linear_model import LogisticRegression

    block = gather(train, LOGISTIC_ROWS, seed)
    sampled = (
        f", on {len(block.label):,} of {train.rows:,} rows" if train.rows > LOGISTIC_ROWS else ""
    )
    how = f"scikit-learn, L2 with C = 1, standardised numbers and one-hot categories{sampled}"
    title = "Logistic regression"
    if len(np.unique(block.label)) < 2:
        only = float(block.label[0])
        return Fitted(
            name="logistic_regression",
            title=title,
            how="the only class among the training rows",
            predict=lambda numeric, categorical: np.full(len(numeric), only),
        )
    model = LogisticRegression(max_iter=1000).fit(
        design_matrix(block.numeric, block.categorical, encoding), block.label
    )
    return Fitted(
        name="logistic_regression",
        title=title,
        how=how,
        predict=lambda numeric, categorical: model.predict_proba(
            design_matrix(numeric, categorical, encoding)
        )[:, 1],
    )


def design_matrix(numeric: NDArray[np.float32], categorical: NDArray[np.int64], encoding: Encoding):
    """The logistic regression's inputs: scipy CSR matrix [n, 2 F + vocabularies + C], float64.

    Standardised numbers, their missing indicators, then one column a category and one for values outside
    the vocabulary (a missing category is all zeros).
    """
    from scipy import sparse

    missing = np.isnan(numeric)
    median = np.array([feature.median for feature in encoding.numeric])
    mean = np.array([feature.mean for feature in encoding.numeric])
    std = np.array([feature.std for feature in encoding.numeric])
    scaled = (np.where(missing, median, numeric.astype(np.float64)) - mean) / std
    parts = [sparse.csr_array(scaled), sparse.csr_array(missing.astype(np.float64))]
    for column, feature in enumerate(encoding.categorical):
        codes = feature.codes(categorical[:, column])
        rows = np.flatnonzero(codes >= 0)
        width = len(feature.values) + 1
        parts.append(
            sparse.csr_array((np.ones(len(rows)), (rows, codes[rows])), shape=(len(codes), width))
        )
    return sparse.hstack(parts, format="csr")


def xgboost(
    train: Rows,
    validation: Rows,
    encoding: Encoding,
    seed: int,
    rounds: int = XGBOOST_ROUNDS,
) -> Fitted:
    """Gradient-boosted trees, fed block by block into a quantised matrix (one byte a value in memory).

    Categories are native categorical splits on vocabulary codes; missing values stay missing. Early
    stopping by the validation rows' ROC AUC. Raises `ValueError` where either split has no rows.
    """
    import xgboost as xgb

    if not train.rows or not validation.rows:
        raise ValueError("XGBoost needs training and validation rows; one of the splits is empty")

    class Blocks(xgb.DataIter):
        """Hands blocks of a split to XGBoost; it goes through them several times."""

        def __init__(self, rows: Rows) -> None:
            self._rows = rows
            self._blocks: Iterator[Block] = iter(())
            super().__init__()

        def next(self, input_data: Callable) -> bool:
            block = next(self._blocks, None)
            if block is None:
                return False
            input_data(
                data=_tree_inputs(block.numeric, block.categorical, encoding),
                label=block.label,
                feature_names=encoding.names,
                feature_types=_tree_types(encoding),
            )
            return True

        def reset(self) -> None:
            self._blocks = self._rows.blocks()

    train_matrix = xgb.QuantileDMatrix(Blocks(train), enable_categorical=True)
    validation_matrix = xgb.QuantileDMatrix(
        Blocks(validation), ref=train_matrix, enable_categorical=True
    )
    booster = xgb.train(
        {**XGBOOST_PARAMETERS, "seed": seed, "verbosity": 0, "nthread": _threads(train.rows)},
        train_matrix,
        num_boost_round=rounds,
        evals=[(validation_matrix, "validation")],
        early_stopping_rounds=XGBOOST_PATIENCE,
        verbose_eval=False,
    )
    trees = booster.best_iteration + 1

    def predict(
        numeric: NDArray[np.float32], categorical: NDArray[np.int64]
    ) -> NDArray[np.floating]:
        matrix = xgb.DMatrix(
            _tree_inputs(numeric, categorical, encoding),
            feature_names=encoding.names,
            feature_types=_tree_types(encoding),
            enable_categorical=True,
        )
        return booster.predict(matrix, iteration_range=(0, trees))

    return Fitted(
        name="xgboost",
        title="XGBoost",
        how=(
            f"{trees} trees of depth {XGBOOST_PARAMETERS['max_depth']}, learning rate "
            f"{XGBOOST_PARAMETERS['learning_rate']}, stopped early on the validation split"
        ),
        predict=predict,
    )


def _threads(rows: int) -> int:
    """Threads worth having: on few rows they wait for each other, the more so on a busy machine."""
    return max(1, min(len(os.sched_getaffinity(0)), rows // 25_000))


def _tree_inputs(
    numeric: NDArray[np.float32], categorical: NDArray[np.int64], encoding: Encoding
) -> NDArray[np.float32]:
    """[n, F + C] with NaN for missing; codes stay exact in float32 (vocabularies are far below 2^24)."""
    columns = [
        feature.codes(categorical[:, column]).astype(np.float32)
        for column, feature in enumerate(encoding.categorical)
    ]
    for codes in columns:
        codes[codes < 0] = np.nan
    return np.column_stack([numeric, *columns]).astype(np.float32, copy=False)


def _tree_types(encoding: Encoding) -> list[str]:
    return ["q"] * len(encoding.numeric) + ["c"] * len(encoding.categorical)
