"""What the asset says of a training that went on after something was wrong."""

from pathlib import Path

import dagster as dg

from tests.orchestration.conftest import failure_text
from tests.orchestration.tiny_use_case import published_project

UP_TO_SHARDS = ("raw", "validated", "rejected", "features", "feature_statistics", "tensor_shards")


def test_reloads_and_left_out_shards_are_in_the_metadata(tmp_path: Path) -> None:
    with published_project(tmp_path, assets=UP_TO_SHARDS) as project:
        project.edit(
            lambda a: a.update(
                model={
                    "factory": "tests.training.factories:overflowing",
                    "options": {"furthest": 0.001},
                },
                training={
                    **a["training"],
                    "warmup_share": 0.9,
                    "on_not_finite": "reload",
                    "reload_rate_factor": 0.01,
                },
            )
        )
        model = [dg.AssetKey(["tiny", "trained_model"])]
        result = project.run(asset_selection=model)
        assert result.success, failure_text(result)
        (event,) = result.get_asset_materialization_events()
        reloads = str(event.materialization.metadata["reloads"].value)
        assert "row_ids" in reloads and len(reloads.splitlines()) == 3
        trained_on = event.materialization.metadata["dagster/row_count"].value
        assert "left_out_rows" not in event.materialization.metadata

        shards = project.current("tensor_shards").local_path()
        path = min(shards.rglob("train/*.safetensors"))
        path.write_bytes(path.read_bytes()[:-1] + b"x")
        project.edit(lambda a: a["training"].update(on_damaged_shard="fail"))
        result = project.run(asset_selection=model)
        assert not result.success
        text = failure_text(result)
        assert f"{path.name} is corrupted" in text
        assert (
            "materialise tensor_shards again, or train without it (`training.on_damaged_shard"
            in text
        )
        project.edit(lambda a: a["training"].update(on_damaged_shard="skip"))
        result = project.run(asset_selection=model)
        assert result.success, failure_text(result)
        (event,) = result.get_asset_materialization_events()
        left_out = event.materialization.metadata["left_out_rows"].value
        assert path.name in str(event.materialization.metadata["left_out_shards"].value)
        rows = event.materialization.metadata["dagster/row_count"].value
        assert rows + left_out == trained_on > rows > 0
