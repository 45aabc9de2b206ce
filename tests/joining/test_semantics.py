"""Mistakes in `sources`, found with file, line and suggestion before anything runs."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from joined import CATALOGUE, PROFILES, use_case
from pydantic import ValidationError

from pipeline_assets.features import feature_problems
from pipeline_assets.features.use_cases import load_checked_use_case
from pipeline_assets.joining.semantics import join_problems
from pipeline_assets.spec import UseCase
from pipeline_assets.spec.loader import SpecError
from pipeline_assets.spec.problems import Problem


def with_source(source: dict[str, Any], name: str = "profiles", **changes: Any) -> UseCase:
    return use_case(sources={"catalogue": CATALOGUE, name: source}, **changes)


def profiles(**changes: Any) -> dict[str, Any]:
    return {**deepcopy(PROFILES), **changes}


def with_columns(source: dict[str, Any], **types: str) -> dict[str, Any]:
    source = deepcopy(source)
    for column in source["contract"]["columns"]:
        column["type"] = types.get(column["name"], column["type"])
    return source


def only(found: list[Problem]) -> Problem:
    assert len(found) == 1, found
    return found[0]


def test_sound_use_cases_have_none() -> None:
    for timed in (True, False):
        assert join_problems(use_case(timed)) == feature_problems(use_case(timed)) == []
    assert join_problems(with_source(with_columns(PROFILES, since="date"))) == []


@pytest.mark.parametrize(
    ("source", "path", "message", "suggestion"),
    [
        (
            profiles(join={"usr": "user_id"}),
            ("join", "usr"),
            "the events' contract has no column 'usr'",
            "'user'",
        ),
        (
            profiles(join={"user": "userid"}),
            ("join", "user"),
            "this source's contract has no column 'userid'",
            "'user_id'",
        ),
        (
            profiles(join={"shop": "user_id"}),
            ("join", "shop"),
            "is string, 'user_id' of this source is int64",
            "same type",
        ),
        (profiles(valid_from=None), ("join",), "its key user_id, since", "join by user_id, since"),
        (
            profiles(join={"user": "user_id", "id": "user_id"}),
            ("join",),
            "two event columns",
            None,
        ),
        (
            profiles(join={"user": "user_id", "shop": "plan"}),
            ("join",),
            "without valid_from 'since'",
            "join by user_id",
        ),
        (
            profiles(valid_from="sinse", contract={**PROFILES["contract"], "key": ["user_id"]}),
            ("valid_from",),
            "no column 'sinse'",
            "'since'",
        ),
        (
            profiles(contract={**PROFILES["contract"], "key": ["user_id"]}),
            ("valid_from",),
            "'since' is not part of this source's key",
            "key: [user_id, since]",
        ),
        (
            with_columns(PROFILES, since="int64"),
            ("valid_from",),
            "is int64, not timestamp or date",
            None,
        ),
        (
            profiles(source={"uri": "profiles/{partition}.jsonl", "format": "jsonl"}),
            ("source", "uri"),
            "a joined source has no partitions",
            "glob",
        ),
    ],
)
def test_each_mistake_is_told_once(
    source: dict[str, Any], path: tuple[Any, ...], message: str, suggestion: str | None
) -> None:
    found = only(join_problems(with_source(source)))
    assert found.path == ("sources", "profiles", *path)
    assert message in found.message
    assert (suggestion is None) == (found.suggestion is None)
    assert suggestion is None or suggestion in str(found.suggestion)


def test_valid_from_needs_time() -> None:
    found = only(join_problems(use_case(timed=False, sources={"profiles": PROFILES})))
    assert found.path == ("sources", "profiles", "valid_from")
    assert "needs a use case with `time`" in found.message


def test_the_contract_of_a_source_is_checked_as_any_other() -> None:
    source = profiles()
    source["contract"]["columns"][3] |= {"min": 5, "max": 1}
    found = only(join_problems(with_source(source)))
    assert found.path == ("sources", "profiles", "contract", "columns", 3, "min")


def test_names_that_two_columns_would_have() -> None:
    case = with_source(CATALOGUE, "a", contract=_events_with("a_price"))
    found = only(join_problems(case))
    assert found.path == ("sources", "a", "contract", "columns", 2, "name")
    assert "called 'a_price', as the events' column 'a_price' is" in found.message
    other = deepcopy(CATALOGUE)
    other["contract"]["columns"][2]["name"] = "b_price"
    between = use_case(
        sources={"a": other, "a_b": CATALOGUE}, features=_features("CAST(a_b_price AS DOUBLE)")
    )
    assert "column 'b_price' of 'a'" in only(join_problems(between)).message
    reserved = only(join_problems(use_case(contract=_events_with("_unmatched"))))
    assert "reserved" in reserved.message


def _events_with(name: str) -> dict[str, Any]:
    contract = use_case().contract.model_dump()
    return {**contract, "columns": [*contract["columns"], {"name": name, "type": "float64"}]}


def _features(expression: str) -> dict[str, Any]:
    column = {"name": "price", "kind": "numeric", "expression": expression}
    return {"label": {"column": "clicked"}, "columns": [column]}


def test_features_know_the_joined_columns_and_no_others() -> None:
    features = {
        **_features("catalogue_price * 2"),
        "carried": ["profiles_plan"],
        "rolling": [
            {
                "name": "spend",
                "entity": ["profiles_plan"],
                "windows": ["1d"],
                "aggregations": [{"function": "mean", "of": "profiles_spend"}],
                "filter": "catalogue_price > 3",
            }
        ],
    }
    assert feature_problems(use_case(features=features)) == []
    found = only(feature_problems(use_case(features=_features("catalogue_pric * 2"))))
    assert found.suggestion == "did you mean 'catalogue_price'?"
    # What it is joined by is a column of the events already.
    found = only(feature_problems(use_case(features=_features("length(catalogue_shop)"))))
    assert "unknown column 'catalogue_shop'" in found.message
    bare = {
        "label": {"column": "clicked"},
        "columns": [{"name": "profiles_plan", "kind": "numeric"}],
    }
    assert "column type string" in only(feature_problems(use_case(features=bare))).message


def test_joined_columns_may_be_missing_where_events_without_them_are_kept() -> None:
    kept = use_case().joined_contract
    assert kept.column("profiles_spend").nullable
    strict = use_case(sources={"profiles": profiles(unmatched="reject")}).joined_contract
    assert not strict.column("profiles_spend").nullable
    assert strict.column("profiles_plan").nullable


@pytest.mark.parametrize("name", ["Profiles", "user-profiles", "1st"])
def test_names_of_sources_are_fit_for_assets_and_columns(name: str) -> None:
    with pytest.raises(ValidationError, match=name):
        with_source(PROFILES, name)


def test_a_mistake_is_told_with_file_and_line(tmp_path: Path) -> None:
    case = with_source(profiles(join={"usr": "user_id"})).model_dump(
        mode="json", exclude_unset=True
    )
    file = tmp_path / "defs.yaml"
    document = {"type": "pipeline_assets.MLPipeline", "attributes": case}
    file.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    line = file.read_text(encoding="utf-8").splitlines().index("        usr: user_id") + 1
    with pytest.raises(SpecError) as error:
        load_checked_use_case(file)
    message = str(error.value)
    assert message.startswith(f"{file}:{line}: sources.profiles.join.usr: the events' contract")
    assert "did you mean 'user'?" in message
