"""The component: its schema for `dg check yaml`, the scaffold, and two use cases side by side."""

from pathlib import Path

import dagster as dg
import pytest
import yaml
from jsonschema import Draft202012Validator
from pydantic import TypeAdapter

from pipeline_assets.features.use_cases import load_checked_use_case
from pipeline_assets.orchestration.attributes import UseCaseAttributes
from pipeline_assets.orchestration.definitions import use_case_definitions
from pipeline_assets.orchestration.resources import Engine, Platform
from pipeline_assets.orchestration.scaffolder import UseCaseParams, starting_attributes
from pipeline_assets.spec.loader import COMPONENT_TYPE, SpecError

CHURN = Path(__file__).parents[2] / "pipeline_assets" / "defs" / "churn" / "defs.yaml"


def churn_attributes() -> dict:
    return yaml.safe_load(CHURN.read_text(encoding="utf-8"))["attributes"]


def schema_errors(attributes: dict) -> list[tuple[str, str]]:
    """Place and message of each error, as `dg check yaml` finds them."""
    validator = Draft202012Validator(TypeAdapter(UseCaseAttributes).json_schema())
    return [
        ("/".join(map(str, e.absolute_path)), e.message) for e in validator.iter_errors(attributes)
    ]


def write(folder: Path, name: str, attributes: dict) -> Path:
    file = folder / name / "defs.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(yaml.safe_dump({"type": COMPONENT_TYPE, "attributes": attributes}))
    return file


def test_schema_accepts_the_shipped_use_case_and_points_at_the_item_that_is_wrong() -> None:
    attributes = churn_attributes()
    assert schema_errors(attributes) == []
    attributes["contract"]["columns"][2]["typ"] = attributes["contract"]["columns"][2].pop("type")
    attributes["source"]["demo"]["row"] = 5
    places = {place for place, _ in schema_errors(attributes)}
    assert places == {"contract/columns/2", "source/demo"}


def test_scaffold_of_a_sample_file_loads(tmp_path: Path) -> None:
    sample = tmp_path / "orders.csv"
    sample.write_text("order_id,amount,country,paid_on,returned\n1,9.5,DE,2026-01-01,0\n")
    params = UseCaseParams(source=str(sample), key="order_id", label="returned")
    use_case = load_checked_use_case(write(tmp_path, "shop", starting_attributes(params)))
    assert use_case.contract.names == ["order_id", "amount", "country", "paid_on", "returned"]
    assert [feature.name for feature in use_case.features.columns] == ["amount", "country"]
    assert use_case.contract.column("paid_on").type == "date"


def test_scaffold_without_a_file_loads_and_a_wrong_label_is_named(tmp_path: Path) -> None:
    use_case = load_checked_use_case(write(tmp_path, "new", starting_attributes(UseCaseParams())))
    assert use_case.features.label.column == "label"
    sample = tmp_path / "orders.csv"
    sample.write_text("id,amount\n1,2\n")
    with pytest.raises(ValueError, match="label 'label' is not a column of"):
        starting_attributes(UseCaseParams(source=str(sample)))


def test_parts_that_do_not_fit_together_are_refused_with_line_and_suggestion(
    tmp_path: Path,
) -> None:
    attributes = churn_attributes()
    attributes["features"]["columns"].append(
        {"name": "bad", "kind": "numeric", "expression": "Balence / 2"}
    )
    file = write(tmp_path, "churn", attributes)
    with pytest.raises(SpecError) as error:
        load_checked_use_case(file)
    line = next(n for n, text in enumerate(file.read_text().splitlines(), 1) if "Balence" in text)
    assert f"defs.yaml:{line}: features.columns[" in str(error.value)
    assert "Balance" in str(error.value)


def test_a_rule_that_reads_the_clock_is_refused_with_its_line(tmp_path: Path) -> None:
    attributes = churn_attributes()
    attributes["contract"].setdefault("rows", []).append(
        {"name": "grown_up", "expression": "Age < year(now())"}
    )
    file = write(tmp_path, "churn", attributes)
    with pytest.raises(SpecError) as error:
        load_checked_use_case(file)
    line = next(n for n, text in enumerate(file.read_text().splitlines(), 1) if "now()" in text)
    assert f"defs.yaml:{line}: contract.rows[" in str(error.value)
    assert "calls now: its value differs from run to run" in str(error.value)


def test_two_use_cases_share_nothing_but_code(tmp_path: Path) -> None:
    attributes = churn_attributes()
    files = [write(tmp_path, name, attributes) for name in ("churn", "second")]
    definitions = dg.Definitions.merge(
        *(use_case_definitions(load_checked_use_case(file)) for file in files),
        dg.Definitions(resources={"platform": Platform(), "engine": Engine()}),
    )
    dg.Definitions.validate_loadable(definitions)
    keys = {key for spec in definitions.resolve_all_asset_specs() for key in [spec.key]}
    assert {key.path[0] for key in keys} == {"churn", "second"}
    graph = definitions.resolve_asset_graph()
    for key in keys:
        assert all(parent.path[0] == key.path[0] for parent in graph.get(key).parent_keys)
    assert definitions.resolve_job_def("second_full") is not None


def test_every_asset_says_who_owns_it_and_what_it_is(tmp_path: Path) -> None:
    definitions = use_case_definitions(load_checked_use_case(CHURN))
    for asset in definitions.assets or []:
        assert isinstance(asset, dg.AssetsDefinition)
        for spec in asset.specs:
            assert spec.owners and spec.kinds and spec.description and spec.tags["stage"]
            assert spec.group_name == "churn"
