"""A lake with a published use case `shop`, written by hand, and folders of use cases."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline_assets.lake import Lake, Version

PROFILE = {
    "wall_seconds": 2.0,
    "cpu_seconds": 1.5,
    "peak_rss_bytes": 3 * 2**20,
    "read_bytes": 10,
    "written_bytes": 20,
    "cores": 2,
}
RUN = "0c8a6a3e-0000-4000-8000-000000000001"


def spec(name: str, uri: str) -> dict[str, Any]:
    return {
        "type": "pipeline_assets.MLPipeline",
        "attributes": {
            "name": name,
            "source": {"uri": uri, "format": "csv"},
            "contract": {
                "key": ["id"],
                "columns": [
                    {"name": "id", "type": "int64"},
                    {"name": "number", "type": "int64"},
                    {"name": "bought", "type": "int32", "allowed": [0, 1]},
                ],
            },
            "features": {
                "label": {"column": "bought"},
                "columns": [{"name": "number", "kind": "numeric", "expression": "number"}],
            },
        },
    }


@pytest.fixture
def use_cases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the use case `shop`, taken for the project's own."""
    folder = tmp_path / "defs"
    file = folder / "shop" / "defs.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(yaml.safe_dump(spec("shop", str(tmp_path / "landing"))))
    (folder / "resources.py").write_text("")
    monkeypatch.setattr("pipeline_assets.command.use_cases.defs_folder", lambda: folder)
    monkeypatch.setenv("PIPELINE_HOME", str(tmp_path))
    for variable in ("PIPELINE_ENV", "PIPELINE_ENGINE", "PIPELINE_LAKE", "DAGSTER_HOME"):
        monkeypatch.delenv(variable, raising=False)
    return folder


def estimate(value: float | None) -> dict[str, float | None]:
    spread = None if value is None else 0.01
    return {
        "value": value,
        "low": None if value is None or spread is None else value - spread,
        "high": None if value is None or spread is None else value + spread,
    }


def predictor(name: str, auc: float) -> dict[str, Any]:
    metrics = {
        key: estimate(0.5) for key in ("average_precision", "f1", "log_loss", "brier", "ece")
    }
    return {
        "name": name,
        "title": name.title(),
        "threshold": 0.4,
        "metrics": {**metrics, "roc_auc": estimate(auc), "precision": estimate(None)},
        "confusion": {},
    }


EVALUATION = {
    "model": predictor("model", 0.9),
    "baselines": [predictor("majority", 0.5)],
    "comparisons": [],
    "best_possible_auc": estimate(0.91),
    "worst_slice": {
        "feature": "country",
        "group": "NZ",
        "rows": 12,
        "metrics": {"roc_auc": estimate(0.7)},
    },
    "slice_metric": "roc_auc",
    "confidence": 0.95,
    "splits": {"test": {"rows": 40, "label_rate": 0.2}},
    "notes": ["a note"],
}


def publish(
    lake: Lake,
    asset: str,
    *,
    rows: int = 10,
    files: dict[str, bytes] | None = None,
    upstream: dict[str, str] | None = None,
    metadata: dict[str, Any] | None = None,
) -> Version:
    with lake.dataset("shop", asset).stage() as staged:
        for path, content in (files or {"rows/part-00000.parquet": asset.encode()}).items():
            staged.write_bytes(path, content)
        staged.seal(
            rows=rows,
            schema=[("id", "bigint")],
            upstream=upstream or {},
            run_id=RUN,
            metadata={"profile": PROFILE, **(metadata or {})},
        )
        return staged.publish()


@pytest.fixture
def lake(tmp_path: Path, use_cases: Path) -> Lake:
    """The lake of the environment, empty."""
    return Lake(str(tmp_path / "data" / "lake"))


@pytest.fixture
def full_lake(lake: Lake) -> Lake:
    """The lake with one version of every asset."""
    raw = publish(lake, "raw", rows=13, metadata={"malformed_by_reason": {"too many fields": 1}})
    found = {
        "rows_raw": 13,
        "rows_validated": 10,
        "rows_rejected": 3,
        "violations": {"id.type": 2, "id.range": 0, "bought.allowed": 5, "malformed_line": 1},
        "severities": {"id.type": "error", "bought.allowed": "warn", "malformed_line": "error"},
    }
    for asset, rows in (("validated", 10), ("rejected", 3)):
        publish(
            lake,
            asset,
            rows=rows,
            upstream={"raw": raw.data_version},
            metadata={"validation": found},
        )
    publish(
        lake,
        "features",
        metadata={
            "split_rows": {"train": 6, "validation": 2, "test": 2},
            "label_rates": {"train": 0.5, "validation": 0.5, "test": 0.5},
        },
    )
    for asset in ("feature_statistics", "tensor_shards", "trained_model"):
        publish(lake, asset)
    publish(
        lake,
        "evaluation_report",
        rows=40,
        files={"evaluation.json": json.dumps(EVALUATION).encode(), "report.html": b"<html>"},
        metadata={"passed": True, "reason": "beats it"},
    )
    model = {
        "name": "shop",
        "version": "3",
        "alias": "challenger",
        "mlflow_run_id": "abc",
        "tracking_uri": "sqlite:///x",
        "model_uri": "models:/shop/3",
    }
    publish(lake, "model_version", rows=1, files={"model_version.json": json.dumps(model).encode()})
    publish(lake, "run_profile", files={"profile.json": b"{}"})
    return lake
