"""How the model is judged: threshold, baselines, slices, and the gate it must pass."""

from typing import Any, Literal, get_args

from pydantic import Field, model_validator

from pipeline_assets.spec.model_base import SpecModel
from pipeline_assets.spec.problems import WrongKey

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
            raise WrongKey("goal", message="goal recall_at_precision needs `precision`")
        return self


class Slice(SpecModel):
    """A feature whose groups are judged one by one."""

    feature: str
    """Feature name."""
    bins: list[float] | None = None
    """Inner edges for numeric features, ascending: [30, 45] makes below 30, 30 to below 45, 45 and above."""


class BusinessMetric(SpecModel):
    """A metric that a function computes of the scored test rows and the columns carried with them."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    """Name of the metric."""
    function: str
    """Dotted path `module:function`; it is given `evaluation.business.ScoredRows` and the options, and
    returns a number (or `Measured`, a number with its course over the days)."""
    options: dict[str, Any] = {}
    """Options of the function, e.g. `entity: CUSTOMER_ID`, `k: 100`."""
    title: str = ""
    """Name for people; made of the name by default."""
    lower_is_better: bool = False
    """Less is better, as for costs."""


class Gate(SpecModel):
    """What a model must reach to be registered."""

    metric: str = "roc_auc"
    """Metric of the minimum and of the comparison: roc_auc, average_precision, log_loss, brier, f1,
    precision, recall, ece, or one of `evaluation.metrics`."""
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
    metrics: list[BusinessMetric] = []
    """Business metrics, beside the usual ones."""
    exclude_known: list[str] = []
    """Carried columns (or features) that identify an entity: test rows of one of whose positive rows the label is
    known by the day of the row, back to the start of training, are left out. Needs `time_split`."""
    permutation_repeats: int = Field(default=3, ge=1)
    """Repeats of the permutation feature importance."""

    @model_validator(mode="after")
    def _metrics_named(self) -> "Evaluation":
        usual = get_args(Metric)
        names = [metric.name for metric in self.metrics]
        for at, name in enumerate(names):
            if name in usual or name in names[:at]:
                raise WrongKey(
                    *("metrics", at, "name"),
                    message=f"{name!r} is the name of another metric; choose a new one",
                )
        if self.gate.metric not in (*usual, *names):
            known = ", ".join((*usual, *names))
            raise WrongKey(
                *("gate", "metric"),
                message=f"{self.gate.metric!r} is no metric; known are {known}",
            )
        return self
