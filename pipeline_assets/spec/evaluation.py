"""How the model is judged: threshold, baselines, slices, and the gate it must pass."""

from typing import Literal

from pydantic import Field, model_validator

from pipeline_assets.spec.model_base import SpecModel

Metric = Literal[
    "roc_auc", "average_precision", "log_loss", "brier", "f1", "precision", "recall", "ece"
]
BaselineName = Literal["majority", "logistic_regression", "xgboost"]


class ThresholdGoal(SpecModel):
    """How the decision threshold is chosen on the validation split."""

    goal: Literal["max_f1", "recall_at_precision", "min_cost"] = "max_f1"
    """What to optimise."""
    precision: float | None = Field(default=None, gt=0, le=1)
    """Smallest precision, for `recall_at_precision`."""
    false_positive_cost: float = Field(default=1.0, ge=0)
    """Cost of a false alarm, for `min_cost`."""
    false_negative_cost: float = Field(default=1.0, ge=0)
    """Cost of a miss, for `min_cost`."""

    @model_validator(mode="after")
    def _precision_given(self) -> "ThresholdGoal":
        if self.goal == "recall_at_precision" and self.precision is None:
            raise ValueError("goal recall_at_precision needs `precision`")
        return self


class Slice(SpecModel):
    """A feature whose groups are judged one by one."""

    feature: str
    """Feature name."""
    bins: list[float] | None = None
    """Inner edges for numeric features, ascending: [30, 45] makes below 30, 30 to below 45, 45 and above."""


class Gate(SpecModel):
    """What a model must reach to be registered."""

    metric: Metric = "roc_auc"
    """Metric of the minimum and of the comparison."""
    minimum: float | None = None
    """The test split's value must reach this (must not exceed it for log_loss, brier and ece)."""
    baseline: BaselineName | None = "logistic_regression"
    """The baseline that the model must not fall behind."""
    tolerance: float = Field(default=0.0, ge=0)
    """How far behind that baseline it may be."""


class Evaluation(SpecModel):
    """The evaluation report."""

    threshold: ThresholdGoal = ThresholdGoal()
    """Choice of the decision threshold."""
    baselines: list[BaselineName] = ["majority", "logistic_regression", "xgboost"]
    """Baselines trained on the same rows."""
    slices: list[Slice] = []
    """Slices."""
    min_slice_rows: int = Field(default=50, ge=1)
    """Smaller slices are shown but cannot be the worst."""
    bootstrap_samples: int = Field(default=500, ge=10)
    """Resamples for the confidence intervals."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """Confidence level of the intervals."""
    gate: Gate = Gate()
    """The blocking check."""
    permutation_repeats: int = Field(default=3, ge=1)
    """Repeats of the permutation feature importance."""
