"""Statistics of the training rows: profile, preprocessing parameters and drift reference in one.

Belongs here: one distributed pass over a feature version, its mergeable partial results, what is
derived from them, plots and tables of it, and the leakage checks that need nothing else.
Does not belong here: comparing two versions (`monitoring`), applying statistics (`training`).
"""

from pipeline_assets.statistics.model import (
    CategoricalStatistics,
    Category,
    Distribution,
    FeatureStatistics,
    Histogram,
    NumericStatistics,
)

__all__ = [
    "CategoricalStatistics",
    "Category",
    "Distribution",
    "FeatureStatistics",
    "Histogram",
    "NumericStatistics",
]
