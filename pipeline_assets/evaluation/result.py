"""What an evaluation found, as data: read by the report, the gate, the registry and the command line.

Equal inputs give equal JSON: no times and no paths in here; the lake's manifest records when and where.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class _Result(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Estimate(_Result):
    """A number with its confidence interval; None where it is not defined."""

    value: float | None
    low: float | None
    high: float | None


class Confusion(_Result):
    """Rows of the test split by label and decision."""

    true_positive: int
    false_positive: int
    false_negative: int
    true_negative: int


class Curves(_Result):
    """Points of the curves, thinned to at most some hundred each. All axes are shares from 0 to 1, but `lift`."""

    false_positive_rate: list[float]
    true_positive_rate: list[float]
    recall: list[float]
    precision: list[float]
    predicted: list[float]
    """Mean probability of each calibration bin (equally many rows in each)."""
    observed: list[float]
    """Label rate of each calibration bin."""
    bin_rows: list[int]
    """Rows of each calibration bin."""
    targeted: list[float]
    """Share of rows, highest probabilities first."""
    lift: list[float]
    """Label rate among the targeted rows over the label rate of all."""


class BusinessFacts(_Result):
    """A business metric, for people."""

    name: str
    title: str
    lower_is_better: bool
    how: str
    """What it measures, in a sentence."""
    options: dict[str, str]
    """Options of its function, as text."""


class Predictor(_Result):
    """One predictor on the test split."""

    name: str
    """`model`, or the name of a baseline."""
    title: str
    """Name for people."""
    how: str
    """How it was made, in a sentence."""
    threshold: float
    """Chosen on the validation split."""
    threshold_reason: str
    threshold_attained: bool
    metrics: dict[str, Estimate]
    """By metric name; business metrics last."""
    daily: dict[str, dict[str, float | None]] = {}
    """Metric to ISO date to the value of that day, for business metrics that have days."""
    confusion: Confusion
    curves: Curves


class Comparison(_Result):
    """The model minus a baseline, metric by metric, with paired intervals."""

    baseline: str
    differences: dict[str, Estimate]


class SliceGroup(_Result):
    """The model on one group of the test split."""

    feature: str
    group: str
    """A category, or in words: a range, the other values, the missing ones."""
    in_words: bool = False
    """`group` is no category."""
    rows: int
    label_rate: float
    mean_probability: float
    metrics: dict[str, Estimate]
    judged: bool
    """Has enough rows to be named the worst."""

    @property
    def title(self) -> str:
        """For people, e.g. `geography = Germany`, `age from 30 to below 45`."""
        return f"{self.feature} {'' if self.in_words else '= '}{self.group}"


class FeatureImportance(_Result):
    """ROC AUC lost when the feature's values are shuffled between rows."""

    feature: str
    mean: float
    """Mean over the repeats."""
    std: float
    """Standard deviation over the repeats."""


class SplitRows(_Result):
    """Size of a split."""

    rows: int
    label_rate: float | None


class GateResult(_Result):
    """The gate's verdict, with all that it rests on."""

    passed: bool
    reason: str
    """Sentences for people."""
    metric: str
    value: float | None
    """The model's, on the test split."""
    minimum: float | None
    """Declared bound (an upper one for metrics of which less is better)."""
    baseline: str | None
    baseline_value: float | None
    tolerance: float


class Evaluation(_Result):
    """Everything in the report."""

    use_case: str
    description: str = ""
    """The use case's."""
    training_date: str | None = None
    """ISO date, where models have training dates."""
    verdict: GateResult | None = None
    """Of the gate that was declared when this was computed."""
    splits: dict[str, SplitRows]
    """`train`, `validation`, `test`."""
    model: Predictor
    baselines: list[Predictor]
    comparisons: list[Comparison]
    best_possible_auc: Estimate | None = None
    """ROC AUC of the true probabilities on the test rows, where they are known (generated data)."""
    calibration_floor: float | None = None
    """Expected calibration error that a perfectly calibrated model would show on as many rows."""
    slice_metric: str
    """Metric by which the worst slice is found."""
    slices: list[SliceGroup]
    worst_slice: SliceGroup | None
    importance: list[FeatureImportance]
    """Most important first."""
    importance_rows: int
    """Test rows used for the importance."""
    importance_repeats: int
    business: list[BusinessFacts] = []
    """The business metrics that were measured."""
    excluded_rows: int = 0
    """Test rows left out, because their entity was known as positive already."""
    confidence: float
    bootstrap_samples: int
    seed: int
    data_versions: dict[str, str] = {}
    """Upstream asset to its data version."""
    notes: list[str] = []
    """What a reader has to know, e.g. a split with one class only."""
    software: dict[str, str] = {}
    """Package versions."""

    def baseline(self, name: str) -> Predictor:
        """The baseline of that name. Raises `KeyError` for one that was not evaluated."""
        for baseline in self.baselines:
            if baseline.name == name:
                return baseline
        raise KeyError(name)

    def business_metric(self, name: str) -> BusinessFacts | None:
        """The business metric of that name; None for the usual metrics."""
        return next((item for item in self.business if item.name == name), None)

    def to_json(self) -> str:
        """JSON text, indented, ends with a newline."""
        return self.model_dump_json(indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Evaluation:
        """The inverse of `to_json`. Raises pydantic's `ValidationError` for any other text."""
        return cls.model_validate_json(text)
