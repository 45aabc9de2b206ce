"""How good a model can be on generated labels: counts by the probability that each was drawn from."""

from dataclasses import dataclass, field

import numpy as np

STEPS = 1_000_000
"""Probabilities are multiples of 1 / STEPS."""


def _zeros() -> np.ndarray:
    return np.zeros(STEPS + 1, np.int64)


@dataclass(kw_only=True)
class LabelCounts:
    """Rows by probability; counts of several files add up."""

    positive: np.ndarray = field(default_factory=_zeros)
    """int64 [STEPS + 1]."""
    negative: np.ndarray = field(default_factory=_zeros)
    """int64 [STEPS + 1]."""

    def add(self, probability: np.ndarray, label: np.ndarray) -> None:
        """Count rows: float64 [rows] in steps of 1 / STEPS, and [rows] of 0 and 1."""
        steps = np.rint(probability * STEPS).astype(np.int64)
        self.positive += np.bincount(steps[label == 1], minlength=STEPS + 1)
        self.negative += np.bincount(steps[label == 0], minlength=STEPS + 1)

    def include(self, other: "LabelCounts") -> None:
        """Count the rows of another file as well."""
        self.positive += other.positive
        self.negative += other.negative

    @property
    def label_rate(self) -> float:
        """Share of positive rows; 0 without rows."""
        positive = int(self.positive.sum())
        return positive / max(1, positive + int(self.negative.sum()))

    @property
    def best_possible_auc(self) -> float | None:
        """ROC AUC of the probabilities themselves; None unless both labels occur."""
        positive, negative = int(self.positive.sum()), int(self.negative.sum())
        if not positive or not negative:
            return None
        # Mann-Whitney: pairs in which the positive has the higher probability, ties count half.
        lower = np.cumsum(self.negative) - self.negative
        return float(np.sum(self.positive * (lower + self.negative / 2))) / (positive * negative)
