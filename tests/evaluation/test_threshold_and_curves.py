import numpy as np
import pytest

from pipeline_assets.evaluation.curves import curves
from pipeline_assets.evaluation.metrics import Scored
from pipeline_assets.evaluation.threshold import choose_threshold
from pipeline_assets.spec import ThresholdGoal


def _rows(seed=0, size=800):
    random = np.random.default_rng(seed)
    probabilities = random.beta(1, 3, size).round(3)
    return (random.random(size) < probabilities).astype(float), probabilities


def test_max_f1_is_the_best_of_all_thresholds():
    labels, probabilities = _rows()
    chosen = choose_threshold(labels, probabilities, ThresholdGoal())
    best = max(
        Scored(labels, probabilities, value).metrics()["f1"] for value in np.unique(probabilities)
    )
    assert Scored(labels, probabilities, chosen.value).metrics()["f1"] == pytest.approx(best)


def test_recall_at_precision_keeps_the_precision_and_takes_the_most_recall():
    labels, probabilities = _rows(1)
    goal = ThresholdGoal(goal="recall_at_precision", precision=0.5)
    chosen = choose_threshold(labels, probabilities, goal)
    found = Scored(labels, probabilities, chosen.value).metrics()
    assert found["precision"] >= 0.5 and chosen.attained
    others = [Scored(labels, probabilities, v).metrics() for v in np.unique(probabilities)]
    assert found["recall"] == max(o["recall"] for o in others if o["precision"] >= 0.5)


def test_a_precision_out_of_reach_is_said():
    labels, probabilities = _rows(2)
    goal = ThresholdGoal(goal="recall_at_precision", precision=1.0)
    chosen = choose_threshold(np.append(labels, 0), np.append(probabilities, 1.0), goal)
    assert not chosen.attained and "no threshold reaches" in chosen.reason


def test_min_cost_is_the_best_of_all_thresholds_and_may_predict_nothing():
    labels, probabilities = _rows(3)
    goal = ThresholdGoal(goal="min_cost", false_positive_cost=1, false_negative_cost=4)

    def cost(value):
        counts = Scored(labels, probabilities, value).confusion()
        return counts.false_positive + 4 * counts.false_negative

    chosen = choose_threshold(labels, probabilities, goal)
    assert cost(chosen.value) == min(cost(value) for value in [*np.unique(probabilities), 1.1])
    free = ThresholdGoal(goal="min_cost", false_positive_cost=1, false_negative_cost=0)
    assert choose_threshold(labels, probabilities, free).value > 1


def test_no_positive_rows_give_a_default_and_say_so():
    chosen = choose_threshold(np.zeros(5), np.linspace(0, 1, 5), ThresholdGoal())
    assert chosen.value == 0.5 and not chosen.attained


def test_curves_are_scikit_learns_points_and_end_where_they_must():
    from sklearn import metrics as sk

    labels, probabilities = _rows(4, 150)
    found = curves(Scored(labels, probabilities))
    false, true, _ = sk.roc_curve(labels, probabilities, drop_intermediate=False)
    np.testing.assert_allclose(found.false_positive_rate, false)
    np.testing.assert_allclose(found.true_positive_rate, true)
    assert found.recall[0] == 0 and found.recall[-1] == 1
    assert found.lift[-1] == pytest.approx(1) and found.targeted[-1] == 1
    assert sum(found.bin_rows) == 150
    np.testing.assert_allclose(np.average(found.observed, weights=found.bin_rows), labels.mean())


def test_many_rows_are_thinned_and_one_class_draws_nothing():
    labels, probabilities = _rows(5, 5000)
    probabilities = probabilities + np.linspace(0, 1e-9, 5000)
    assert len(curves(Scored(labels, np.clip(probabilities, 0, 1))).recall) <= 203
    rare = (np.arange(20_000) < 60).astype(float)
    found = curves(Scored(rare, np.linspace(0.9, 0.1, 20_000)))
    assert len(set(found.recall)) > 55, "every step of the few positives is drawn"
    empty = curves(Scored(np.zeros(20), np.linspace(0, 1, 20)))
    assert empty.false_positive_rate == [] and empty.recall == [] and empty.lift == []
