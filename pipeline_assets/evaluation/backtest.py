"""A backtest: the evaluations of several training dates as one, metric by metric over time.

Each date's model saw only what was known at that date and is judged on what came after (prequential
validation), so the mean over dates says what to expect of the next one, and the deviation how sure that is.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict

from pipeline_assets.evaluation.metrics import LOWER_IS_BETTER, METRICS, TITLES
from pipeline_assets.evaluation.result import Evaluation, Predictor


class _Result(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Course(_Result):
    """A number over the training dates."""

    values: list[float | None]
    """By training date; None where it is not defined or was not measured."""
    mean: float | None
    """Of the dates that have a value."""
    deviation: float | None
    """Sample standard deviation (n - 1) over them; None for fewer than two."""

    @classmethod
    def of(cls, values: Sequence[float | None]) -> Course:
        """The course with its mean and deviation."""
        known = [value for value in values if value is not None]
        return cls(
            values=list(values),
            mean=statistics.fmean(known) if known else None,
            deviation=statistics.stdev(known) if len(known) > 1 else None,
        )


class BacktestPredictor(_Result):
    """The model, or a baseline, over the training dates."""

    name: str
    title: str
    metrics: dict[str, Course]
    """By metric name."""
    better: dict[str, int]
    """By metric name: at how many dates the model was better. Empty for the model itself."""
    difference: dict[str, Course]
    """By metric name: model minus this baseline. Empty for the model itself."""


class BacktestDate(_Result):
    """One training date."""

    date: str
    """ISO date."""
    data_version: str
    """Of its evaluation report."""
    training_rows: int
    test_rows: int
    label_rate: float | None
    """Of the test rows."""
    passed: bool
    """The gate's verdict."""


class Backtest(_Result):
    """Everything in the backtest report."""

    use_case: str
    description: str
    dates: list[BacktestDate]
    """In order of time."""
    titles: dict[str, str]
    """Metric name to what people read, in the order of the tables."""
    lower_is_better: list[str]
    """Metrics of which less is better."""
    predictors: list[BacktestPredictor]
    """The model, then the baselines."""

    def to_json(self) -> str:
        """JSON text, indented, ends with a newline."""
        return self.model_dump_json(indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Backtest:
        """The inverse of `to_json`."""
        return cls.model_validate_json(text)


def backtest(evaluations: Mapping[str, Evaluation], data_versions: Mapping[str, str]) -> Backtest:
    """Put the evaluations of several training dates together.

    Args:
        evaluations: training date (ISO) to its evaluation.
        data_versions: training date to the data version of its evaluation.

    Raises:
        ValueError: there is none.
    """
    if not evaluations:
        raise ValueError(
            "no training date has an evaluation_report of its current model: materialise one, or backfill several"
        )
    dates = sorted(evaluations)
    ordered = [evaluations[date] for date in dates]
    business = {item.name: item for evaluation in ordered for item in evaluation.business}
    titles = {name: TITLES[name] for name in METRICS}
    titles |= {name: item.title for name, item in business.items()}
    lower = [
        name
        for name in titles
        if name in LOWER_IS_BETTER or (name in business and business[name].lower_is_better)
    ]
    named = {
        predictor.name: predictor.title
        for evaluation in ordered
        for predictor in [evaluation.model, *evaluation.baselines]
    }
    courses = {name: [_predictor(evaluation, name) for evaluation in ordered] for name in named}
    model = courses[ordered[0].model.name]
    return Backtest(
        use_case=ordered[-1].use_case,
        description=ordered[-1].description,
        dates=[
            BacktestDate(
                date=date,
                data_version=data_versions[date],
                training_rows=evaluation.splits["train"].rows,
                test_rows=evaluation.splits["test"].rows,
                label_rate=evaluation.splits["test"].label_rate,
                passed=evaluation.verdict is not None and evaluation.verdict.passed,
            )
            for date, evaluation in zip(dates, ordered, strict=True)
        ],
        titles=titles,
        lower_is_better=lower,
        predictors=[
            _over_time(name, title, courses[name], model, list(titles), lower)
            for name, title in named.items()
        ],
    )


def _predictor(evaluation: Evaluation, name: str) -> Predictor | None:
    predictors = [evaluation.model, *evaluation.baselines]
    return next((item for item in predictors if item.name == name), None)


def _over_time(
    name: str,
    title: str,
    own: Sequence[Predictor | None],
    model: Sequence[Predictor | None],
    metrics: Sequence[str],
    lower: Sequence[str],
) -> BacktestPredictor:
    values = {metric: [_value(item, metric) for item in own] for metric in metrics}
    if own is model:
        return BacktestPredictor(
            name=name, title=title, metrics=_courses(values), better={}, difference={}
        )
    differences = {
        metric: [
            None if one is None or other is None else one - other
            for one, other in zip([_value(item, metric) for item in model], others, strict=True)
        ]
        for metric, others in values.items()
    }
    return BacktestPredictor(
        name=name,
        title=title,
        metrics=_courses(values),
        better={
            metric: sum(
                change is not None and (change < 0 if metric in lower else change > 0)
                for change in changes
            )
            for metric, changes in differences.items()
        },
        difference=_courses(differences),
    )


def _courses(values: Mapping[str, Sequence[float | None]]) -> dict[str, Course]:
    return {metric: Course.of(of) for metric, of in values.items()}


def _value(predictor: Predictor | None, metric: str) -> float | None:
    estimate = None if predictor is None else predictor.metrics.get(metric)
    return None if estimate is None else estimate.value
