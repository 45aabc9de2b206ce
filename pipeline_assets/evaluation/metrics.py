"""The metrics of one predictor on one set of rows, for any row weights.

Every metric follows from running sums over the rows in descending order of probability. Definitions equal those
of scikit-learn's functions with `sample_weight`; ties in the probability are one step of the curves.
Choosing a threshold belongs in `threshold`, resampling in `bootstrap`, curves for people in `curves`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

METRICS = (
    "roc_auc",
    "average_precision",
    "log_loss",
    "brier",
    "ece",
    "precision",
    "recall",
    "f1",
)
"""Names of the metrics, in the order of every table."""

LOWER_IS_BETTER = frozenset({"log_loss", "brier", "ece"})
"""Metrics of which less is better."""

TITLES = {
    "roc_auc": "ROC AUC",
    "average_precision": "Average precision",
    "log_loss": "Log loss (nats)",
    "brier": "Brier score",
    "ece": "Expected calibration error",
    "precision": "Precision",
    "recall": "Recall",
    "f1": "F1",
}
"""What people read."""

ECE_BINS = 15
"""Equal-width probability bins of the expected calibration error (Guo et al. 2017, section 2)."""

_SMALLEST = np.finfo(np.float64).eps
"""Probabilities are kept this far from 0 and 1 in the logarithm, as scikit-learn does."""


@dataclass(frozen=True, kw_only=True)
class Counts:
    """The confusion matrix at a threshold, in rows (or in summed weights)."""

    true_positive: float
    false_positive: float
    false_negative: float
    true_negative: float


@dataclass(frozen=True)
class Scored:
    """Labels and probabilities of one predictor, sorted once, ready for any weights.

    Args:
        labels: 0 or 1, shape [rows].
        probabilities: of the positive class, shape [rows], each within [0, 1].
        threshold: rows at or above it are predicted positive.

    Raises:
        ValueError: no rows, shapes that differ, labels other than 0 and 1, or a probability that is
            not a number within [0, 1].
    """

    labels: NDArray[np.floating]
    probabilities: NDArray[np.floating]
    threshold: float = 0.5
    order: NDArray[np.intp] = field(init=False, repr=False)
    """Rows by descending probability."""
    sorted_labels: NDArray[np.float64] = field(init=False, repr=False)
    sorted_probabilities: NDArray[np.float64] = field(init=False, repr=False)
    sorted_losses: NDArray[np.float64] = field(init=False, repr=False)
    """Log loss of each row, nats."""
    tie_ends: NDArray[np.intp] = field(init=False, repr=False)
    """Sorted positions of the last row of each distinct probability."""
    bin_ends: NDArray[np.intp] = field(init=False, repr=False)
    """Sorted positions of the last row of each calibration bin that holds rows."""
    flagged_rows: int = field(init=False, repr=False)
    """Rows at or above the threshold."""

    def __post_init__(self) -> None:
        labels = np.asarray(self.labels, dtype=np.float64)
        probabilities = np.asarray(self.probabilities, dtype=np.float64)
        _check(labels, probabilities)
        order = np.argsort(-probabilities, kind="stable")
        ordered = probabilities[order]
        last_of_tie = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
        clipped = np.clip(ordered, _SMALLEST, 1 - _SMALLEST)
        ordered_labels = labels[order]
        loss = np.where(ordered_labels > 0, -np.log(clipped), -np.log1p(-clipped))
        bins = np.minimum((ordered * ECE_BINS).astype(np.int64), ECE_BINS - 1)
        # Sorted in descending order every bin is one stretch: the last position of each non-empty one.
        edges = np.flatnonzero(np.append(bins[1:] != bins[:-1], True))
        set_ = object.__setattr__
        set_(self, "order", order)
        set_(self, "sorted_labels", ordered_labels)
        set_(self, "sorted_probabilities", ordered)
        set_(self, "sorted_losses", loss)
        set_(self, "tie_ends", last_of_tie)
        set_(self, "bin_ends", edges)
        set_(self, "flagged_rows", int(np.searchsorted(-ordered, -self.threshold, side="right")))

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.order)

    def metrics(self, weights: NDArray[np.number] | None = None) -> dict[str, float]:
        """All metrics, by name; NaN where one is not defined (one class only).

        Args:
            weights: of each row, shape [rows], not negative; all ones by default.
        """
        weighted = np.ones(self.rows) if weights is None else weights[self.order].astype(np.float64)
        positive_weights = weighted * self.sorted_labels
        total = np.cumsum(weighted)
        positives = np.cumsum(positive_weights)
        all_rows, all_positives = total[-1], positives[-1]
        all_negatives = all_rows - all_positives
        error = self.sorted_probabilities - self.sorted_labels
        values: dict[str, float] = dict.fromkeys(METRICS, np.nan)
        if all_rows == 0:
            return values
        values["log_loss"] = float(weighted @ self.sorted_losses / all_rows)
        values["brier"] = float(weighted @ (error * error) / all_rows)
        # Sum of (probability - label) over each bin; the weights of the bin cancel out.
        gaps = np.diff(np.cumsum(weighted * error)[self.bin_ends], prepend=0.0)
        values["ece"] = float(np.abs(gaps).sum() / all_rows)
        counts = self._counts(total, positives)
        flagged = counts.true_positive + counts.false_positive
        values["precision"] = counts.true_positive / flagged if flagged else 0.0
        if all_positives:
            values["recall"] = counts.true_positive / all_positives
            values["f1"] = 2 * counts.true_positive / (flagged + all_positives)
            values["average_precision"] = self._average_precision(total, positives)
        if all_positives and all_negatives:
            values["roc_auc"] = self._area(total, positives, all_positives, all_negatives)
        return values

    def confusion(self) -> Counts:
        """The confusion matrix at the threshold, in rows."""
        return self._counts(np.cumsum(np.ones(self.rows)), np.cumsum(self.sorted_labels))

    def steps(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """The curve's steps: thresholds (descending), true and false positives at each, in rows."""
        ends = self.tie_ends
        positives = np.cumsum(self.sorted_labels)[ends]
        return self.sorted_probabilities[ends], positives, ends + 1.0 - positives

    def _counts(self, total: NDArray[np.float64], positives: NDArray[np.float64]) -> Counts:
        flagged = float(total[self.flagged_rows - 1]) if self.flagged_rows else 0.0
        hits = float(positives[self.flagged_rows - 1]) if self.flagged_rows else 0.0
        misses = float(positives[-1]) - hits
        return Counts(
            true_positive=hits,
            false_positive=flagged - hits,
            false_negative=misses,
            true_negative=float(total[-1]) - flagged - misses,
        )

    def _average_precision(
        self, total: NDArray[np.float64], positives: NDArray[np.float64]
    ) -> float:
        total, positives = total[self.tie_ends], positives[self.tie_ends]
        precision = positives / np.maximum(total, 1e-300)  # leading rows of weight 0: 0 / tiny = 0
        return float(np.diff(positives, prepend=0.0) @ precision / positives[-1])

    def _area(
        self,
        total: NDArray[np.float64],
        positives: NDArray[np.float64],
        all_positives: float,
        all_negatives: float,
    ) -> float:
        total, positives = total[self.tie_ends], positives[self.tie_ends]
        negatives = np.diff(total - positives, prepend=0.0)
        # Trapezoids: mean of the positives before and after each step of the negatives.
        after = float(negatives @ positives)
        before = float(negatives[1:] @ positives[:-1])
        return (after + before) / 2 / (all_positives * all_negatives)


def _check(labels: NDArray[np.float64], probabilities: NDArray[np.float64]) -> None:
    if labels.ndim != 1 or labels.shape != probabilities.shape:
        raise ValueError(
            f"labels {labels.shape} and probabilities {probabilities.shape} must be of one dimension "
            "and equally long"
        )
    if labels.size == 0:
        raise ValueError("no rows to evaluate: the split is empty")
    wrong = ~((labels == 0) | (labels == 1))
    if wrong.any():
        raise ValueError(f"labels must be 0 or 1: {wrong.sum()} are not, e.g. {labels[wrong][0]}")
    bad = ~((probabilities >= 0) & (probabilities <= 1))
    if bad.any():
        raise ValueError(
            f"{bad.sum()} of {len(bad)} probabilities are not within [0, 1], "
            f"e.g. {probabilities[bad][0]} in row {int(np.flatnonzero(bad)[0])}"
        )
