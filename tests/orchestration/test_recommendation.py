"""The shipped use case of three sources: from files that are generated to a registered model, and the truth."""

import json
import shutil
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from pipeline_assets.evaluation.result import Evaluation
from pipeline_assets.lake import Version
from pipeline_assets.registry.inputs import serving_contract
from tests.orchestration.conftest import Project, failure_text
from tests.orchestration.tiny_use_case import ENVIRONMENT, at_home

RECOMMENDATION = (
    Path(__file__).parents[2] / "pipeline_assets" / "defs" / "recommendation" / "defs.yaml"
)
FIRST, LAST, DATE = "2025-01-01", "2025-01-20", "2025-01-13"


def read(version: Version) -> pa.Table:
    return pa.concat_tables([pq.read_table(uri) for uri in version.uris("rows", ".parquet")])


@pytest.mark.heavy
def test_from_three_sources_to_a_registered_model(tmp_path: Path) -> None:
    file = tmp_path / "defs" / "recommendation" / "defs.yaml"
    file.parent.mkdir(parents=True)
    shutil.copy(RECOMMENDATION, file)
    (tmp_path / "environment.yaml").write_text(yaml.safe_dump(ENVIRONMENT), encoding="utf-8")
    with at_home(tmp_path), dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        project = Project(home=tmp_path, file=file, instance=instance)
        tags = {
            "dagster/asset_partition_range_start": FIRST,
            "dagster/asset_partition_range_end": LAST,
        }
        data = project.run("data", tags=tags)
        assert data.success, failure_text(data)
        trained = project.run("train", partition_key=DATE)
        assert trained.success, failure_text(trained)

        def version(asset: str, partition: str = DATE) -> Version:
            return project.lake.dataset("recommendation", asset).require(partition)

        landing = tmp_path / "data" / "landing" / "recommendation"
        truth = json.loads((landing / "clicks" / "_truth" / "summary.json").read_text())
        assert len(truth["days"]) == 20
        for day, counts in truth["days"].items():
            joined, unmatched = version("joined", day), version("unmatched", day)
            lacking = counts["unmatched_rows"]
            assert unmatched.rows == lacking["no_product"]
            assert joined.rows + unmatched.rows == counts["rows"]
            assert joined.manifest.metadata["unmatched"] == {
                "profiles": lacking["no_profile"] + lacking["later_profile"],
                "catalogue": lacking["no_product"],
            }
        rows = read(version("joined", LAST)).to_pandas().dropna(subset="profiles_valid_from")
        assert (rows["profiles_valid_from"] <= rows["time"]).all()
        features = read(version("features", LAST))
        assert features["product_impressions_7d"].to_numpy().min() >= 1

        found = Evaluation.from_json(version("evaluation_report").read_bytes("evaluation.json"))
        assert found.verdict is not None and found.verdict.passed
        assert found.best_possible_auc is not None
        best, ours = found.best_possible_auc.value, found.model.metrics["roc_auc"].value
        assert best - 0.02 < ours < best + 0.005, (ours, best)
        # Whoever asks the served model looks up the profile and the product.
        asked = serving_contract(project.use_case)
        assert asked.column("profiles_plan").nullable
        assert not asked.column("catalogue_price").nullable
