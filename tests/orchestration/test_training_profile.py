"""A profiled training publishes what it found; a sweep over the same shards publishes nothing."""

import gzip
import json
from pathlib import Path

import dagster as dg
import pytest

from pipeline_assets.__main__ import main
from tests.orchestration.conftest import failure_text
from tests.orchestration.tiny_use_case import published_project

UP_TO_SHARDS = ("raw", "validated", "rejected", "features", "feature_statistics", "tensor_shards")


def test_profile_and_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with published_project(tmp_path, assets=UP_TO_SHARDS) as project:
        keys = [dg.AssetKey(["tiny", "trained_model"])]

        def code_version() -> str | None:
            graph = project.definitions().resolve_asset_graph()
            return graph.get(keys[0]).code_version

        before = code_version()
        project.edit(lambda a: a["training"].update(profile=True))
        assert code_version() == before
        result = project.run(asset_selection=keys)
        assert result.success, failure_text(result)
        (event,) = result.get_asset_materialization_events()
        metadata = event.materialization.metadata
        version = project.current("trained_model")
        found = version.read_json("profile.json")
        assert metadata["training_profile"].value == version.path("profile.json")
        assert metadata["trace_rank_0"].value == version.path("trace-rank-0.json.gz")
        shares = str(metadata["training_shares"].value).splitlines()[2:]
        assert len(shares) == len(found["shares"]) and any("| validation |" in s for s in shares)
        percents = [float(line.split("|")[2].strip().rstrip("%")) for line in shares]
        assert percents == sorted(percents, reverse=True) and sum(percents) == pytest.approx(100, 1)
        assert "data:image/png" in str(metadata["training_shares_plot"].value)
        assert metadata["traces_open_in"].value == "https://ui.perfetto.dev"
        # The column, and a mark in one row.
        assert str(metadata["history"].value).count("best") == 2
        assert "| tensor_shards | " in str(metadata["inputs"].value)
        score = version.read_json("history.json")["best_score"]
        assert metadata["validation_roc_auc"].value == float(f"{score:.6g}")
        assert len(str(metadata["step_times"].value).splitlines()) == 2 + len(found["epochs"])
        assert "straggler" not in metadata
        with version.open("trace-rank-0.json.gz") as file:
            assert json.loads(gzip.decompress(file.read()))["traceEvents"]

        monkeypatch.setattr(
            "pipeline_assets.command.use_cases.defs_folder", lambda: project.file.parents[1]
        )
        lake = sorted(path for path in (tmp_path / "data").rglob("*"))
        capsys.readouterr()
        assert main(["sweep", "tiny", "--what", "precision", "--seconds", "0.02"]) == 0
        said = capsys.readouterr().out
        assert "best for this machine: " in said and "not available" in said
        assert sorted(path for path in (tmp_path / "data").rglob("*")) == lake
        assert main(["sweep", "tiny", "--seconds", "0"]) == 2
        assert "--seconds" in capsys.readouterr().err
