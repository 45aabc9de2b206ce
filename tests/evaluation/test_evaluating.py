import re

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from pipeline_assets.demo_data.truth import TrueProbabilities
from pipeline_assets.evaluation import leakage
from pipeline_assets.evaluation import rows as rows_module
from pipeline_assets.evaluation.baselines import (
    Fitted,
    design_matrix,
    logistic_regression,
    majority,
    xgboost,
)
from pipeline_assets.evaluation.encoding import CategoricalEncoding, Encoding, NumericEncoding
from pipeline_assets.evaluation.evaluating import evaluate_rows
from pipeline_assets.evaluation.gating import gate
from pipeline_assets.evaluation.leakage import permuted_labels
from pipeline_assets.evaluation.result import Evaluation, SliceGroup
from pipeline_assets.evaluation.rows import ArrayRows, Block, gather
from pipeline_assets.evaluation.slices import categorical_groups, numeric_groups
from pipeline_assets.shards.hashing import hash_categories


def test_the_best_possible_area_is_that_of_the_truth_and_no_one_passes_it_by_much(evaluation):
    best = evaluation.best_possible_auc.value
    assert best == pytest.approx(evaluation.model.metrics["roc_auc"].value)
    for baseline in evaluation.baselines:
        assert baseline.metrics["roc_auc"].value < best + 0.01


def test_baselines_are_judged_on_the_same_rows(evaluation):
    assert [item.name for item in evaluation.baselines] == [
        "majority",
        "logistic_regression",
        "xgboost",
    ]
    for item in [evaluation.model, *evaluation.baselines]:
        assert sum(item.confusion.model_dump().values()) == 1500
    assert evaluation.baseline("majority").metrics["roc_auc"].value == 0.5
    assert evaluation.baseline("logistic_regression").metrics["roc_auc"].value > 0.65
    assert evaluation.baseline("xgboost").metrics["roc_auc"].value > 0.65


def test_the_worst_slice_is_the_one_where_nothing_is_known(evaluation):
    assert evaluation.worst_slice.title == "country = <Spain>"
    assert evaluation.worst_slice.metrics["roc_auc"].value == pytest.approx(0.5, abs=0.05)
    by_feature = {}
    for group in evaluation.slices:
        by_feature[group.feature] = by_feature.get(group.feature, 0) + group.rows
    assert by_feature == {"country": 1500, "age": 1500}


def test_small_slices_are_shown_but_not_judged(splits, encoding, make_use_case, model):
    use_case = make_use_case(min_slice_rows=600, baselines=["majority"])
    found = evaluate_rows(model=model, **splits, encoding=encoding, use_case=use_case, seed=0)
    assert not any(g.judged for g in found.slices if g.feature == "country")
    assert found.worst_slice.feature == "age"


def test_importance_finds_the_feature_that_matters(evaluation):
    assert evaluation.importance[0].feature == "age"
    assert evaluation.importance[0].mean > 0.1
    noise = next(item for item in evaluation.importance if item.feature == "noise")
    assert noise.mean == 0


def test_a_calibrated_model_is_near_the_floor(evaluation):
    assert evaluation.model.metrics["ece"].value < 2 * evaluation.calibration_floor


def test_json_gives_the_same_evaluation_back_and_the_same_seed_the_same_json(
    evaluation, splits, encoding, make_use_case, model
):
    assert Evaluation.from_json(evaluation.to_json()) == evaluation
    use_case = make_use_case(baselines=["majority"])
    one, two = (
        evaluate_rows(model=model, **splits, encoding=encoding, use_case=use_case, seed=5)
        for _ in range(2)
    )
    assert one.to_json() == two.to_json()


def test_the_gates_baseline_is_always_judged(splits, encoding, make_use_case, model):
    use_case = make_use_case(baselines=[], gate={"baseline": "logistic_regression"})
    found = evaluate_rows(model=model, **splits, encoding=encoding, use_case=use_case, seed=0)
    assert [item.name for item in found.baselines] == ["logistic_regression"]


@pytest.mark.parametrize(
    ("rule", "passed", "reason"),
    [
        ({"minimum": 0.6}, True, "at least 0.6 is required"),
        ({"minimum": 0.95}, False, r"Failed: ROC AUC .*at least 0.95 is required"),
        ({"metric": "log_loss", "minimum": 0.69, "baseline": "majority"}, True, "at most 0.69"),
        ({"metric": "brier", "minimum": 0.01, "baseline": None}, False, "at most 0.01"),
        ({"minimum": None, "baseline": None}, True, "no minimum and no baseline"),
    ],
)
def test_the_gate_says_what_it_asked_for(evaluation, rule, passed, reason, make_use_case):
    verdict = gate(evaluation, make_use_case(gate=rule))
    assert verdict.passed is passed
    assert re.search(reason, verdict.reason), verdict.reason


def test_a_model_behind_its_baseline_fails_unless_within_the_tolerance(
    splits, encoding, make_use_case, model
):
    def worse(numeric, categorical):
        return np.clip(
            model.predict(numeric, categorical) + 0.3 * np.sin(1e4 * numeric[:, 0]), 0, 1
        )

    spoilt = Fitted(name="model", title="Model", how="spoilt", predict=worse)
    use_case = make_use_case(baselines=["logistic_regression"])
    found = evaluate_rows(model=spoilt, **splits, encoding=encoding, use_case=use_case, seed=0)
    assert found.verdict is not None and not found.verdict.passed
    assert "against" in found.verdict.reason and "difference -" in found.verdict.reason
    lenient = make_use_case(gate={"tolerance": 0.5})
    assert gate(found, lenient).passed


def test_one_class_in_the_test_split_fails_the_gate_with_a_reason(
    splits, encoding, make_use_case, model
):
    block = splits["test"].held
    only = ArrayRows(block._replace(label=np.zeros_like(block.label)))
    use_case = make_use_case(baselines=["majority"])
    found = evaluate_rows(
        model=model, **{**splits, "test": only}, encoding=encoding, use_case=use_case, seed=0
    )
    assert found.verdict is not None and not found.verdict.passed
    assert "not defined on the test split" in found.verdict.reason
    assert any("one class only" in note for note in found.notes)


def test_an_empty_split_and_a_foreign_truth_are_refused(splits, encoding, make_use_case, model):
    block = splits["test"].held
    nothing = ArrayRows(block.part(slice(0, 0)))
    use_case = make_use_case(baselines=["majority"])
    keywords = {"model": model, "encoding": encoding, "use_case": use_case, "seed": 0}
    with pytest.raises(ValueError, match="the test split holds no rows"):
        evaluate_rows(**{**splits, "test": nothing}, **keywords)
    with pytest.raises(ValueError, match="true probability of 1,500 of 1,500"):
        evaluate_rows(**splits, **keywords, truth=TrueProbabilities(np.array([1]), np.array([0.5])))


def test_unseen_and_missing_categories_reach_every_baseline(splits, encoding):
    numeric = np.array([[np.nan, np.nan], [0, 0]], dtype=np.float32)
    categorical = np.array([[0], [12345]], dtype=np.int64)
    for fitted in (
        majority(splits["train"]),
        logistic_regression(splits["train"], encoding, 0),
        xgboost(splits["train"], splits["validation"], encoding, 0, rounds=5),
    ):
        found = fitted.predict(numeric, categorical)
        assert found.shape == (2,) and np.isfinite(found).all()
    matrix = design_matrix(numeric, categorical, encoding).toarray()
    assert matrix.tolist() == [[0, 0, 1, 1, 0, 0, 0], [0, 0, 0, 0, 0, 0, 1]]


def test_xgboost_from_blocks_equals_xgboost_from_arrays(splits, encoding, monkeypatch):
    test = splits["test"].held
    whole = xgboost(splits["train"], splits["validation"], encoding, 0, rounds=30)
    monkeypatch.setattr(rows_module, "BLOCK_ROWS", 257)
    parts = xgboost(splits["train"], splits["validation"], encoding, 0, rounds=30)
    one, two = (fit.predict(test.numeric, test.categorical) for fit in (whole, parts))
    assert roc_auc_score(test.label, one) == pytest.approx(roc_auc_score(test.label, two), abs=0.01)


def test_sampled_rows_are_drawn_once_and_in_order(splits, monkeypatch):
    monkeypatch.setattr(rows_module, "BLOCK_ROWS", 100)
    found = gather(splits["train"], 500, seed=1)
    assert len(np.unique(found.row_id)) == 500
    assert (np.diff(found.row_id) > 0).all()
    same = gather(splits["train"], 5000, seed=1)
    np.testing.assert_array_equal(same.row_id, splits["train"].held.row_id)


def test_permuted_labels_give_chance_and_a_leak_does_not(splits, encoding, monkeypatch):
    found = permuted_labels(*splits.values(), encoding, 0)
    assert found.passed and "0.5 is within" in found.reason

    # A predictor that knows the test labels, whatever it was trained on.
    judged = splits["test"].held
    labels = dict(zip(judged.numeric[:, 0].tolist(), judged.label.tolist()))
    cheat = Fitted(
        name="xgboost",
        title="Cheat",
        how="knows",
        predict=lambda numeric, categorical: np.array([labels[x] for x in numeric[:, 0].tolist()]),
    )
    monkeypatch.setattr(leakage, "xgboost", lambda *arguments, **options: cheat)
    caught = permuted_labels(*splits.values(), encoding, 0)
    assert not caught.passed and "outside" in caught.reason


@pytest.mark.parametrize("seed", [0, 9])
def test_a_strong_feature_is_no_leak_by_permuted_labels(seed):
    # A single such model has a ROC AUC of about 0.35 here: it happens to lie against the strong feature.
    random = np.random.default_rng(seed)

    def rows(count: int) -> ArrayRows:
        values = random.normal(size=(count, 3)).astype(np.float32)
        probability = 1 / (1 + np.exp(1 - 4 * values[:, 0]))
        label = (random.random(count) < probability).astype(np.float32)
        return ArrayRows(Block(values, np.zeros((count, 0), np.int64), label, np.arange(count)))

    numeric = tuple(NumericEncoding(name=name, mean=0, std=1, median=0) for name in "abc")
    found = permuted_labels(
        rows(3500), rows(750), rows(750), Encoding(numeric=numeric, categorical=()), seed
    )
    assert found.passed, found.reason


def test_categories_are_named_as_such_whatever_they_begin_with():
    names = ["from abroad", "missing", "other", "below stairs"]
    hashes = hash_categories(names)
    encoding = CategoricalEncoding(name="place", values=tuple(names), hashes=tuple(hashes.tolist()))
    values = np.array([*hashes, 0, 12345], dtype=np.int64)
    groups = list(categorical_groups(values, encoding))
    titles = [
        SliceGroup(
            feature="place", group=group.name, in_words=group.in_words, rows=1, label_rate=0,
            mean_probability=0, metrics={}, judged=True,
        ).title
        for group in groups
    ]  # fmt: skip
    assert titles == [
        "place = from abroad", "place = missing", "place = other", "place = below stairs",
        "place other values", "place missing",
    ]  # fmt: skip


def test_ages_on_an_edge_belong_above_it_and_missing_is_a_group():
    values = np.array([29.9, 30, 44, 45, np.nan], dtype=np.float32)
    flags = numeric_groups(np.array([0, 1, 1, np.nan], np.float32), [0.5])
    assert [(name, mask.sum(), in_words) for name, mask, in_words in flags] == [
        ("0", 1, False), ("1", 2, False), ("missing", 1, True),
    ]  # fmt: skip
    groups = {name: mask.tolist() for name, mask, _ in numeric_groups(values, [30, 45])}
    assert groups == {
        "below 30": [True, False, False, False, False],
        "from 30 to below 45": [False, True, True, False, False],
        "from 45": [False, False, False, True, False],
        "missing": [False, False, False, False, True],
    }
