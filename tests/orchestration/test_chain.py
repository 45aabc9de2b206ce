"""The whole chain through Dagster: events, gates, conservation, reproducibility."""

import json
from collections.abc import Callable

import dagster as dg
import pytest

from tests.orchestration.conftest import Project, failure_text

CHAIN = {
    "raw", "validated", "rejected", "features", "feature_statistics", "tensor_shards",
    "trained_model", "evaluation_report", "model_version", "run_profile",
}  # fmt: skip


def materialised(result: dg.ExecuteInProcessResult) -> set[str]:
    return {
        event.asset_key.path[-1]
        for event in result.get_asset_materialization_events()
        if event.asset_key
    }


@pytest.mark.heavy
def test_raw_files_become_a_registered_model(make_project: Callable[..., Project]) -> None:
    project = make_project()
    result = project.run()
    assert result.success, failure_text(result)
    assert materialised(result) == CHAIN
    raw, validated, rejected = (project.current(a) for a in ("raw", "validated", "rejected"))
    assert raw.rows == validated.rows + rejected.rows
    assert rejected.rows > 0
    checks = {check.check_name: check for check in result.get_asset_check_evaluations()}
    assert checks["conservation"].passed
    assert checks["same_rows_as_features"].passed
    assert checks["beats_minimum_and_baseline"].passed
    assert not checks["malformed_line"].passed
    for asset in CHAIN:
        event = next(
            e for e in result.get_asset_materialization_events() if e.asset_key.path[-1] == asset
        )
        metadata = event.materialization.metadata
        assert metadata["profile/wall_seconds"].value > 0
        assert metadata["dagster/row_count"].value > 0
    again = project.run()
    assert again.success, failure_text(again)
    first, second = (
        {
            e.asset_key.path[-1]: e.materialization.tags["dagster/data_version"]
            for e in r.get_asset_materialization_events()
        }
        for r in (result, again)
    )
    reproducible = CHAIN - {"model_version", "run_profile"}
    assert {a: first[a] for a in reproducible} == {a: second[a] for a in reproducible}


def test_too_many_rejected_rows_stop_the_run_and_keep_the_published_version(
    make_project: Callable[..., Project],
) -> None:
    project = make_project()
    select = {
        "asset_selection": [dg.AssetKey(["churn", a]) for a in ("raw", "validated", "rejected")]
    }
    assert project.run(**select).success
    before = project.versions()
    project.edit(lambda a: a["contract"]["table"].update(max_rejected_share=0.0001))
    result = project.run()
    assert not result.success
    assert "rejected_share" in failure_text(result)
    assert project.versions() == before
    assert "features" not in materialised(result)


def test_replay_recovers_rows_after_the_contract_was_mended(
    make_project: Callable[..., Project],
) -> None:
    project = make_project({"source": {"demo": {"bad_share": 0.02}}})
    select = {
        "asset_selection": [dg.AssetKey(["churn", a]) for a in ("raw", "validated", "rejected")]
    }
    assert project.run(**select).success
    before = project.current("rejected")
    broken = before.manifest.metadata["validation"]["violations"]
    rule = max((r for r in broken if r.endswith(".range")), key=broken.__getitem__)
    column = rule.split(".")[0]

    def mend(attributes: dict) -> None:
        for item in attributes["contract"]["columns"]:
            if item["name"] == column:
                item.pop("min", None), item.pop("max", None)

    project.edit(mend)
    assert project.run("replay").success
    after = project.current("rejected")
    assert 0 < before.rows - after.rows <= broken[rule]
    assert project.current("validated").rows + after.rows == project.current("raw").rows


def test_inputs_of_different_origin_are_refused(make_project: Callable[..., Project]) -> None:
    project = make_project()
    keys = ("raw", "validated", "rejected", "features", "feature_statistics", "tensor_shards")
    assert project.run(asset_selection=[dg.AssetKey(["churn", a]) for a in keys]).success
    project.edit(lambda a: a["features"]["columns"].pop())
    keys = ("features", "tensor_shards")
    assert project.run(asset_selection=[dg.AssetKey(["churn", a]) for a in keys]).success
    result = project.run(asset_selection=[dg.AssetKey(["churn", "trained_model"])])
    assert not result.success
    assert "materialise everything between features" in failure_text(result)


def test_manifest_and_events_tell_the_same(make_project: Callable[..., Project]) -> None:
    project = make_project()
    result = project.run(asset_selection=[dg.AssetKey(["churn", "raw"])])
    event = result.get_asset_materialization_events()[0].materialization
    manifest = project.current("raw").manifest
    assert event.metadata["dagster/row_count"].value == manifest.rows
    assert event.tags["dagster/data_version"] == manifest.data_version
    assert manifest.run_id == result.run_id
    json.dumps(manifest.metadata)


def test_the_manifest_holds_the_code_version_that_the_asset_declares(
    make_project: Callable[..., Project],
) -> None:
    project = make_project()
    keys = [dg.AssetKey(["churn", asset]) for asset in ("raw", "validated", "rejected")]
    assert project.run(asset_selection=keys).success
    graph = project.definitions().resolve_asset_graph()
    declared = {key.path[-1]: graph.get(key).code_version for key in keys}
    assert all(declared.values())
    found = {asset: project.current(asset).manifest.code_version for asset in declared}
    assert found == declared
