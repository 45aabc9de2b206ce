"""Leakage that only a model can show: trained on permuted labels, nothing may predict the real ones.

One such model says little: what it learnt by chance may lie along or against a strong feature, and its
test ROC AUC then is far from 0.5 on however many rows. Over permutations these chances are as often up as
down, so the mean of several models is held against 0.5, with the interval of their own spread.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict
from scipy.special import stdtrit

from pipeline_assets.evaluation.baselines import xgboost
from pipeline_assets.evaluation.encoding import Encoding
from pipeline_assets.evaluation.metrics import Scored
from pipeline_assets.evaluation.result import Estimate
from pipeline_assets.evaluation.rows import ArrayRows, Block, Rows, ShardRows, gather

if TYPE_CHECKING:
    from pipeline_assets.spec import UseCase
    from pipeline_assets.statistics import FeatureStatistics

ROWS = 10_000
"""Rows of each split used, at most: a leak shows on few."""
PERMUTATIONS = 8
"""Models trained, each on labels permuted anew."""
CONFIDENCE = 0.9999
"""Of the interval that must hold 0.5. Wide, because chance may not stop one sound run in twenty."""
_ROUNDS = 50


class PermutedLabels(BaseModel):
    """What models that were trained on permuted labels score on the test split, on average."""

    model_config = ConfigDict(frozen=True)

    passed: bool
    reason: str
    roc_auc: Estimate


def permuted_label_check(
    shards_dir: Path | str, statistics: FeatureStatistics, use_case: UseCase, *, seed: int
) -> PermutedLabels:
    """Permute training and validation labels, train XGBoost, hold its test ROC AUC against 0.5; several
    times over."""
    return permuted_labels(
        ShardRows(shards_dir, "train"),
        ShardRows(shards_dir, "validation"),
        ShardRows(shards_dir, "test"),
        Encoding.of(statistics, use_case),
        seed,
    )


def permuted_labels(
    train: Rows, validation: Rows, test: Rows, encoding: Encoding, seed: int
) -> PermutedLabels:
    """`permuted_label_check`, on rows from anywhere."""
    fitting, stopping, judged = (gather(rows, ROWS, seed) for rows in (train, validation, test))
    values = []
    for number in range(PERMUTATIONS):
        fitted = xgboost(
            _permuted(fitting, seed, 2 * number),
            _permuted(stopping, seed, 2 * number + 1),
            encoding,
            seed + number,
            rounds=_ROUNDS,
        )
        scored = Scored(judged.label, fitted.predict(judged.numeric, judged.categorical))
        values.append(scored.metrics()["roc_auc"])
    value = float(np.mean(values))
    if not np.isfinite(value):
        undefined = Estimate(value=None, low=None, high=None)
        return PermutedLabels(
            passed=True,
            reason="not applicable: the test split holds one class only",
            roc_auc=undefined,
        )
    # Student's interval of the mean: few models, and their spread is not known beforehand.
    spread = float(np.std(values, ddof=1)) / len(values) ** 0.5
    reach = float(stdtrit(len(values) - 1, (1 + CONFIDENCE) / 2)) * spread
    estimate = Estimate(value=value, low=max(value - reach, 0.0), high=min(value + reach, 1.0))
    passed = abs(value - 0.5) <= reach
    return PermutedLabels(
        passed=passed,
        reason=(
            f"of {len(values)} models trained on permuted labels the mean test ROC AUC is {value:.4f}; 0.5 is "
            f"{'within' if passed else 'outside'} its {CONFIDENCE:.2%} interval "
            f"({estimate.low:.4f} to {estimate.high:.4f})"
        ),
        roc_auc=estimate,
    )


def _permuted(block: Block, seed: int, number: int) -> ArrayRows:
    label = np.random.default_rng((seed, number)).permutation(block.label)
    return ArrayRows(block._replace(label=label))
