"""Card precision at k: of the k cards that investigators check a day, the share that is defrauded.

Le Borgne et al., Reproducible Machine Learning for Credit Card Fraud Detection: Practical Handbook,
chapter 4. The entity need not be a card: any that is investigated as a whole.
"""

from __future__ import annotations

import numpy as np

from pipeline_assets.evaluation.business.rows import Measured, ScoredRows


def card_precision_at_k(
    rows: ScoredRows, *, entity: str, k: int = 100, exclude_detected: bool = True
) -> Measured:
    """The mean over the days of the share of the k most suspicious entities that have a positive row.

    An entity is as suspicious as its most suspicious row of the day; of equally suspicious ones those
    with the smaller identifier come first. The share is of k even on days with fewer entities.

    Args:
        rows: the scored test rows.
        entity: carried column that identifies the entity, e.g. the card; rows without it are left out.
        k: entities that can be investigated a day.
        exclude_detected: leave out entities that were among the k, and rightly so, on an earlier day.

    Raises:
        ValueError: the column is not carried, or the use case has no `time`.
    """
    if k < 1:
        raise ValueError(f"k is {k!r}; it is the number of entities investigated a day, at least 1")
    identifiers, days = rows.column(entity), rows.days
    present = ~_is_missing(identifiers)
    names, codes = np.unique(identifiers[present], return_inverse=True)
    days, label, score = days[present], rows.label[present], rows.score[present]
    detected = np.zeros(len(names), dtype=bool)
    daily: dict[np.datetime64, float] = {}
    for day in np.unique(days):
        today = (days == day) & ~detected[codes]
        found, inverse = np.unique(codes[today], return_inverse=True)
        highest = np.full(len(found), -np.inf)
        np.maximum.at(highest, inverse, score[today])
        positive = np.zeros(len(found), dtype=bool)
        np.logical_or.at(positive, inverse, label[today] > 0)
        top = np.argsort(-highest, kind="stable")[:k]
        daily[day] = float(positive[top].sum() / k)
        if exclude_detected:
            detected[found[top[positive[top]]]] = True
    return Measured(value=float(np.mean(list(daily.values()))) if daily else np.nan, daily=daily)


def _is_missing(values: np.ndarray) -> np.ndarray:
    if values.dtype == object:
        return np.array([value is None or value != value for value in values], dtype=bool)
    return np.isnan(values) if values.dtype.kind == "f" else np.zeros(len(values), dtype=bool)
