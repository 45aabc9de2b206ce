"""Evaluations of several training dates put together."""

import statistics

import numpy as np
import pytest

from pipeline_assets.evaluation.backtest import Backtest, Course, backtest
from pipeline_assets.evaluation.backtest_report import backtest_plots, render_backtest
from pipeline_assets.evaluation.evaluating import evaluate_rows
from tests.evaluation.conftest import rows
from tests.evaluation.test_report import _Checker

DATES = ("2018-07-04", "2018-07-11", "2018-07-18")


@pytest.fixture(scope="module")
def evaluations(splits, encoding, make_use_case, model):
    use_case = make_use_case(baselines=["majority", "logistic_regression"], slices=[])
    return {
        date: evaluate_rows(
            model=model,
            **{**splits, "test": rows(10 + at, 900)},
            encoding=encoding,
            use_case=use_case,
            seed=0,
        )
        for at, date in enumerate(DATES)
    }


@pytest.fixture(scope="module")
def found(evaluations):
    backwards = dict(reversed(evaluations.items()))
    return backtest(backwards, {date: f"version of {date}" for date in DATES})


def test_mean_and_deviation_are_over_the_dates_in_order(found, evaluations) -> None:
    assert [item.date for item in found.dates] == list(DATES)
    for position, name in enumerate(["model", "majority", "logistic_regression"]):
        predictor = found.predictors[position]
        assert predictor.name == name
        for metric in ("roc_auc", "log_loss"):
            values = [
                next(p for p in [e.model, *e.baselines] if p.name == name).metrics[metric].value
                for e in evaluations.values()
            ]
            course = predictor.metrics[metric]
            assert course.values == values
            assert course.mean == pytest.approx(np.mean(values))
            assert course.deviation == pytest.approx(statistics.stdev(values), abs=1e-15)
    assert found.dates[0].test_rows == 900


def test_better_is_counted_by_the_metrics_direction(found) -> None:
    majority = found.predictors[1]
    assert majority.better["roc_auc"] == 3 and majority.better["log_loss"] == 3
    assert majority.difference["log_loss"].mean < 0 < majority.difference["roc_auc"].mean


def test_undefined_values_are_left_out() -> None:
    course = Course.of([None, 1.0, 3.0])
    assert (course.mean, course.deviation) == (2.0, pytest.approx(2**0.5))
    assert Course.of([None]).mean is None and Course.of([1.0]).deviation is None
    with pytest.raises(ValueError, match="no training date"):
        backtest({}, {})


def test_the_report_is_whole_and_holds_the_figures(found) -> None:
    assert Backtest.from_json(found.to_json()) == found
    plots = backtest_plots(found)
    assert {"roc_auc", "log_loss"} <= set(plots)
    page = render_backtest(found, plots=plots)
    checker = _Checker()
    checker.feed(page)
    assert checker.open == []
    assert all(source.startswith(("data:image/png;base64,", "#")) for source in checker.sources)
    text = " ".join(page.split())
    assert f"{found.predictors[0].metrics['roc_auc'].mean:.4f}" in text
    assert "better at 3 of 3" in text and "Who &lt;comes&gt; back" in text
