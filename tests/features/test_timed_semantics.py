"""Mistakes in time, rolling and carried, found before anything runs."""

from typing import Any

import pytest
import timed
import yaml

from pipeline_assets.features import feature_problems
from pipeline_assets.features.use_cases import load_checked_use_case
from pipeline_assets.spec.loader import SpecError
from pipeline_assets.spec.problems import Problem

COUNT = [{"function": "count"}]


def problems(**changes: Any) -> list[Problem]:
    return feature_problems(timed.use_case(**changes))


def only(found: list[Problem]) -> Problem:
    assert len(found) == 1, found
    return found[0]


def with_rolling(**changes: Any) -> list[Problem]:
    block = {"name": "x", "entity": ["card"], "windows": ["1d"], "aggregations": COUNT, **changes}
    return problems(features={"rolling": [*timed.ROLLING, block]})


def test_a_sound_use_case_has_none() -> None:
    assert problems() == []
    assert problems(features={"columns": []}) == []


@pytest.mark.parametrize(
    ("changes", "path", "message", "suggestion"),
    [
        (
            {"entity": ["card", "shops"]},
            ("entity", 1),
            "'shops' is not in the contract",
            "did you mean 'shop'?",
        ),
        ({"entity": ["amount"]}, ("entity", 0), "float64", None),
        ({"entity": ["fraud"]}, ("entity", 0), "label", None),
        ({"filter": "amont > 3"}, ("filter",), "unknown column 'amont'", "did you mean 'amount'?"),
        ({"filter": "fraud = 1"}, ("filter",), "a leak", None),
        ({"filter": "amount >"}, ("filter",), "found the end", None),
        (
            {"aggregations": [*COUNT, {"function": "sum", "of": "amount * rand()"}]},
            ("aggregations", 1, "of"),
            "differs from run to run",
            None,
        ),
        (
            {"aggregations": [{"function": "mean", "of": "fraud"}]},
            ("aggregations", 0, "of"),
            "a leak",
            None,
        ),
    ],
)
def test_rolling(
    changes: dict[str, Any], path: tuple[Any, ...], message: str, suggestion: str | None
) -> None:
    found = only(with_rolling(**changes))
    assert found.path == ("features", "rolling", 3, *path)
    assert message in found.message
    assert found.suggestion == suggestion


def test_a_rate_of_labels_that_are_not_late_is_a_leak() -> None:
    found = only(problems(time={"label_delay": "0d"}))
    assert found.path == ("features", "rolling", 1, "aggregations", 0, "function")
    assert "own label" in found.message
    delayed = [{**timed.ROLLING[1], "delay": "1h"}]
    assert problems(time={"label_delay": "0d"}, features={"rolling": delayed}) == []


def test_names_that_two_columns_would_have() -> None:
    assert "feature of rolling 'card'" in only(with_rolling(name="CARD")).message
    twice = [{"function": "sum", "of": "amount"}, {"function": "sum", "of": "shop"}]
    assert "aggregation 1" in only(with_rolling(aggregations=twice)).message
    columns = [{"name": "card_count_6h", "kind": "numeric", "expression": "1"}]
    assert "feature 'card_count_6h'" in only(problems(features={"columns": columns})).message


@pytest.mark.parametrize(
    ("carried", "message"),
    [
        (["card", "cart"], "not in the contract"),
        (["card", "card"], "already"),
    ],
)
def test_carried(carried: list[str], message: str) -> None:
    found = only(problems(features={"carried": carried}))
    assert (found.path, message in found.message) == (("features", "carried", 1), True)
    columns = [{"name": "shop", "kind": "numeric"}]
    clash = only(problems(features={"columns": columns, "carried": ["shop"]}))
    assert "already" in clash.message


@pytest.mark.parametrize(
    ("column", "message"),
    [("when", "not in the contract"), ("id", "int64, not timestamp"), ("late", "may be missing")],
)
def test_time_column(column: str, message: str) -> None:
    late = {"name": "late", "type": "timestamp", "nullable": True}
    found = only(
        problems(
            time={"column": column}, contract={"key": ["id"], "columns": [*timed.COLUMNS, late]}
        )
    )
    assert (found.path, message in found.message) == (("time", "column"), True)


def test_slices_may_name_rolling_features() -> None:
    assert problems(evaluation={"slices": [{"feature": "card_count_1d", "bins": [2, 5]}]}) == []


def test_the_message_names_file_and_line(tmp_path: Any) -> None:
    attributes = timed.use_case().model_dump(mode="json", exclude_unset=True)
    attributes["features"]["rolling"][0]["entity"] = ["cart"]
    file = tmp_path / "defs.yaml"
    document = {"type": "pipeline_assets.MLPipeline", "attributes": attributes}
    file.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    line = file.read_text(encoding="utf-8").splitlines().index("      - cart") + 1
    with pytest.raises(
        SpecError, match=rf":{line}: features.rolling\[0\].entity\[0\]: .*; did you mean 'card'"
    ):
        load_checked_use_case(file)


def test_a_use_case_without_any_feature_is_refused() -> None:
    with pytest.raises(ValueError, match="declare `columns`, `rolling` or both"):
        timed.use_case(features={"columns": [], "rolling": []})
