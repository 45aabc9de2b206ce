"""Mistakes in features, label and slices, found before anything runs."""

from typing import Any

import pytest
from chain import FEATURES, use_case

from pipeline_assets.features import feature_problems
from pipeline_assets.spec import UseCase
from pipeline_assets.spec.problems import Problem


def problems(**changes: Any) -> list[Problem]:
    return feature_problems(use_case(**changes))


def only(**feature: Any) -> Problem:
    found = problems(columns=[*FEATURES, feature])
    assert len(found) == 1, found
    return found[0]


def test_a_sound_use_case_has_none() -> None:
    assert problems() == []


def test_unknown_column_names_feature_expression_and_the_nearest() -> None:
    found = only(name="rich", kind="numeric", expression="balanse > 1e5")
    assert found.path == ("features", "columns", 7, "expression")
    assert found.suggestion == "did you mean 'balance'?"
    for part in ("'rich'", "'balanse > 1e5'", "'balanse'"):
        assert part in found.message


def test_a_bare_unknown_name_points_at_the_name() -> None:
    found = only(name="Age_", kind="numeric")
    assert (found.path[-1], found.suggestion) == ("name", "did you mean 'age'?")


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("left + 1", "a leak"),
        ("id % 7", "key column 'id'"),
        ("rand() + age", "differs from run to run"),
        ("datediff(CURRENT_DATE, date '2020-01-01') + age", "calls current_date"),
        ("age + length(current_user())", "differs from run to run"),
        ("age - avg(age)", "needs other rows than its own"),
        ("explode(array(age))", "several rows"),
        ("avg(age) OVER (PARTITION BY city)", "character 10"),
        ("age +", "found the end"),
    ],
)
def test_refused_expressions(expression: str, message: str) -> None:
    found = problems(columns=[{"name": "x", "kind": "numeric", "expression": expression}])
    assert any(message in problem.message for problem in found), found


def test_duplicate_and_reserved_names() -> None:
    assert (
        "declared twice (as number 1 and 8"
        in only(name="AGE", kind="numeric", expression="1").message
    )
    assert "reserved" in only(name="label", kind="numeric", expression="1").message


def test_types_of_bare_columns() -> None:
    text = problems(columns=[{"name": "city", "kind": "numeric"}])[0]
    assert text.path[-1] == "kind"
    assert text.suggestion == "write expression: try_cast(`city` AS double)"
    number = problems(columns=[{"name": "age", "kind": "categorical"}])[0]
    assert number.suggestion == "write expression: try_cast(`age` AS string)"


@pytest.mark.parametrize(
    ("label", "message", "suggestion"),
    [
        ({"column": "Left"}, "not in the contract", "did you mean 'left'?"),
        ({"column": "age"}, "may be missing", None),
        ({"column": "left", "positive": "yes"}, "write a number", None),
        ({"column": "left", "positive": 0.5}, "write a whole number", None),
        ({"column": "active", "positive": "yes"}, "write true or false", None),
    ],
)
def test_labels(label: dict[str, Any], message: str, suggestion: str | None) -> None:
    columns = [{"name": "balance", "kind": "numeric"}]
    found = problems(label=label, columns=columns)[0]
    assert message in found.message
    assert found.suggestion == suggestion


def test_slices() -> None:
    data = use_case().model_dump()
    data["evaluation"]["slices"] = [
        {"feature": "citi"},
        {"feature": "city", "bins": [1]},
        {"feature": "age", "bins": [45, 30]},
        {"feature": "age", "bins": [30, 45]},
        {"feature": "city"},
    ]
    found = feature_problems(UseCase.model_validate(data))
    assert [(item.path, item.suggestion) for item in found] == [
        (("evaluation", "slices", 0, "feature"), "did you mean 'city'?"),
        (("evaluation", "slices", 1, "bins"), None),
        (("evaluation", "slices", 2, "bins"), "write [30.0, 45.0]"),
    ]
