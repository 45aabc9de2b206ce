"""Permutation importance: the ROC AUC lost when one feature's values are shuffled between test rows.

Breiman 2001, section 10, with ROC AUC as the score. Features that carry the same information share the
loss, so a small value does not mean that a feature could not help alone.
"""

from __future__ import annotations

import numpy as np

from pipeline_assets.evaluation.baselines import Predict
from pipeline_assets.evaluation.encoding import Encoding
from pipeline_assets.evaluation.metrics import Scored
from pipeline_assets.evaluation.result import FeatureImportance
from pipeline_assets.evaluation.rows import Block

ROWS = 10_000
"""Test rows used, at most."""


def permutation_importance(
    block: Block, predict: Predict, encoding: Encoding, *, repeats: int, seed: int
) -> list[FeatureImportance]:
    """Importance of every feature, most important first; empty where the rows hold one class only.

    Each repeat shuffles all features with the same permutation, one feature at a time.
    """
    base = _auc(block, predict, block.numeric, block.categorical)
    if not np.isfinite(base):
        return []
    random = np.random.default_rng(seed)
    permutations = [random.permutation(len(block.label)) for _ in range(repeats)]
    found = []
    for position, name in enumerate(encoding.names):
        lost = []
        for permutation in permutations:
            numeric, categorical = block.numeric.copy(), block.categorical.copy()
            column = position - len(encoding.numeric)
            if column < 0:
                numeric[:, position] = numeric[permutation, position]
            else:
                categorical[:, column] = categorical[permutation, column]
            lost.append(base - _auc(block, predict, numeric, categorical))
        found.append(
            FeatureImportance(feature=name, mean=float(np.mean(lost)), std=float(np.std(lost)))
        )
    return sorted(found, key=lambda item: (-item.mean, item.feature))


def _auc(block: Block, predict: Predict, numeric: np.ndarray, categorical: np.ndarray) -> float:
    return Scored(block.label, predict(numeric, categorical)).metrics()["roc_auc"]
