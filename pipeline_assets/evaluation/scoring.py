"""Finished predictors on the rows of a split, block by block: their thresholds and their probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline_assets.evaluation.baselines import Fitted
from pipeline_assets.evaluation.business.rows import ScoredRows
from pipeline_assets.evaluation.carried import Carried
from pipeline_assets.evaluation.encoding import Encoding
from pipeline_assets.evaluation.metrics import Scored
from pipeline_assets.evaluation.rows import Rows
from pipeline_assets.evaluation.threshold import MAJORITY_THRESHOLD, Threshold, choose_threshold

if TYPE_CHECKING:
    from pipeline_assets.demo_data.truth import TrueProbabilities
    from pipeline_assets.spec import UseCase


@dataclass(frozen=True, kw_only=True)
class Judged:
    """The test split, scored by everyone, with the feature columns that the slices need."""

    labels: NDArray[np.float64]
    row_ids: NDArray[np.int64]
    probabilities: dict[str, NDArray[np.float64]]
    slice_values: dict[str, NDArray]


def thresholds(
    fitted: Sequence[Fitted], validation: Rows, use_case: UseCase
) -> dict[str, Threshold]:
    """Each predictor's threshold, chosen on the validation rows by the declared goal.

    The majority class has nothing to choose: it is predicted for all rows.
    """
    labels, scores = [], {item.name: [] for item in fitted}
    for block in validation.blocks():
        labels.append(block.label)
        for item in fitted:
            scores[item.name].append(item.predict(block.numeric, block.categorical))
    return {
        name: MAJORITY_THRESHOLD
        if name == "majority"
        else choose_threshold(
            np.concatenate(labels), np.concatenate(parts), use_case.evaluation.threshold
        )
        for name, parts in scores.items()
    }


def score(fitted: Sequence[Fitted], test: Rows, encoding: Encoding, use_case: UseCase) -> Judged:
    """The test rows, scored by every predictor in one pass."""
    names = encoding.names
    labels, row_ids = [], []
    scores: dict[str, list] = {item.name: [] for item in fitted}
    kept: dict[str, list] = {cut.feature: [] for cut in use_case.evaluation.slices}
    for block in test.blocks():
        labels.append(block.label)
        row_ids.append(block.row_id)
        for item in fitted:
            scores[item.name].append(item.predict(block.numeric, block.categorical))
        for feature, parts in kept.items():
            position = names.index(feature)
            column = position - len(encoding.numeric)
            parts.append(block.numeric[:, position] if column < 0 else block.categorical[:, column])
    return Judged(
        labels=np.concatenate(labels).astype(np.float64),
        row_ids=np.concatenate(row_ids),
        probabilities={
            name: np.concatenate(parts).astype(np.float64) for name, parts in scores.items()
        },
        slice_values={feature: np.concatenate(parts) for feature, parts in kept.items()},
    )


def scored_rows(
    judged: Judged, scored: Mapping[str, Scored], carried: Carried | None
) -> dict[str, ScoredRows]:
    """The test rows as business metrics see them, by predictor."""
    along = None if carried is None else carried.of(judged.row_ids)
    return {
        name: ScoredRows(
            label=judged.labels,
            score=judged.probabilities[name],
            flagged=judged.probabilities[name] >= of.threshold,
            event_time=None if along is None else along.event_time,
            day=None if along is None else along.day,
            columns={} if along is None else along.columns,
        )
        for name, of in scored.items()
    }


def true_probabilities(truth: TrueProbabilities, row_ids: NDArray[np.int64]) -> NDArray[np.float64]:
    """The true probability of each row [rows]. Raises `ValueError` where one is not known."""
    found = truth.of(row_ids)
    missing = int(np.isnan(found).sum())
    if missing:
        raise ValueError(
            f"the true probability of {missing:,} of {len(row_ids):,} test rows is not known: the truth "
            "belongs to other data; generate the landing files again or evaluate without it"
        )
    return found
