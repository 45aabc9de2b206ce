"""How well one feature alone separates the classes; a value near 1 usually means a leak.

Numeric features: the larger of the ROC AUC of the value (either direction) over rows that have
one, and of the cross-fitted rate of its quantile bin, which also sees leaks that are not monotone
and those that hide in missing values. Categorical features: the cross-fitted rate of the category.
Rates come from one half of the rows and are judged on the other, so that a feature of many values
(a name, an identifier) does not look like a leak only because each value was seen once.
"""

import numpy as np

SMOOTHING = 10.0
"""Rows of the overall rate that are added to each category's own."""


def rank_auc(values: np.ndarray, positive: np.ndarray) -> float:
    """Return the ROC AUC of `values` [n] for the boolean `positive` [n]; 0.5 for one class only."""
    ours, others = np.sort(values[positive]), np.sort(values[~positive])
    if not len(ours) or not len(others):
        return 0.5
    below = np.searchsorted(others, ours, side="left").astype(np.float64)
    not_above = np.searchsorted(others, ours, side="right").astype(np.float64)
    return float((below + not_above).sum() / (2.0 * len(ours) * len(others)))


def grouped_auc(scores: np.ndarray, negative: np.ndarray, positive: np.ndarray) -> float:
    """Return the ROC AUC where group g has `scores[g]` for its negative and positive rows."""
    _, group = np.unique(scores, return_inverse=True)
    negatives = np.bincount(group, weights=negative)
    positives = np.bincount(group, weights=positive)
    pairs = negatives.sum() * positives.sum()
    if pairs == 0:
        return 0.5
    below = np.cumsum(negatives) - negatives
    return float((positives * (below + negatives / 2)).sum() / pairs)


def cross_fitted_auc(counts: np.ndarray) -> float:
    """Return the AUC of group rates fitted on one half and judged on the other, averaged.

    Args:
        counts: [groups, 4] rows: negative and positive of the first half, then of the second.
    """
    halves = counts[:, :2].astype(np.float64), counts[:, 2:].astype(np.float64)
    found = []
    for fitted, judged in (halves, halves[::-1]):
        if not fitted.sum():
            return 0.5
        overall = fitted[:, 1].sum() / fitted.sum()
        rate = (fitted[:, 1] + SMOOTHING * overall) / (fitted.sum(axis=1) + SMOOTHING)
        found.append(grouped_auc(rate, judged[:, 0], judged[:, 1]))
    return float(np.mean(found))


def numeric_auc(values: np.ndarray, positive: np.ndarray, half: np.ndarray) -> float:
    """Return how well a numeric feature separates the classes, 0.5 to 1.

    Args:
        values: [n], NaN for missing.
        positive: bool [n].
        half: 0 or 1 [n], a coin toss per row.
    """
    present = ~np.isnan(values)
    direct = rank_auc(values[present], positive[present])
    edges = (
        np.unique(np.quantile(values[present], np.linspace(0, 1, 65)[1:-1]))
        if present.any()
        else []
    )
    bins = np.where(present, np.searchsorted(edges, values, side="right"), len(edges) + 1)
    cells = bins * 4 + half * 2 + positive
    counts = np.bincount(cells, minlength=4 * (len(edges) + 2)).reshape(-1, 4)
    return max(direct, 1.0 - direct, cross_fitted_auc(counts), 0.5)


def categorical_auc(counts: np.ndarray) -> float:
    """Return how well a categorical feature separates the classes, 0.5 to 1 (see above)."""
    return max(cross_fitted_auc(counts), 0.5)
