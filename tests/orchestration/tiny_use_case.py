"""A use case of 600 rows, six columns and a network of a few weights: for what has to run many times."""

import csv
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from pipeline_assets.orchestration import resources as shared
from tests.orchestration.conftest import Project, failure_text

COLUMNS = ("id", "amount", "age", "tenure", "city", "left")
ROWS = 600
ATTRIBUTES: dict[str, Any] = {
    "owners": ["team:tests"],
    "source": {"uri": "landing", "format": "csv", "split_bytes": 4096},
    "contract": {
        "key": ["id"],
        "columns": [
            {"name": "id", "type": "int64", "min": 1},
            {"name": "amount", "type": "float64", "nullable": True, "min": 0, "max": 1000},
            {"name": "age", "type": "int32", "nullable": True, "min": 18, "max": 110},
            {"name": "tenure", "type": "int32", "nullable": True, "min": 0},
            {"name": "city", "type": "string", "nullable": True, "max_length": 40},
            {"name": "left", "type": "int32", "allowed": [0, 1]},
        ],
        "table": {"min_rows": 100, "max_rejected_share": 0.05},
    },
    "features": {
        "label": {"column": "left", "positive": 1},
        "suspicious_auc": 0.99,
        "columns": [
            {"name": "amount", "kind": "numeric"},
            {"name": "age", "kind": "numeric"},
            {"name": "tenure", "kind": "numeric"},
            {"name": "city", "kind": "categorical"},
        ],
    },
    "model": {
        "factory": "pipeline_assets.training.models.mlp:build",
        "options": {"hidden": [8], "embedding_dim": 2},
    },
    "training": {"max_epochs": 3, "batch_size": 32, "learning_rate": 0.02},
    "evaluation": {
        "baselines": ["majority"],
        "bootstrap_samples": 10,
        "permutation_repeats": 1,
        "gate": {"minimum": 0.5, "baseline": "majority"},
    },
    "monitoring": {"retrain": False},
}
ENVIRONMENT = {
    "engine": {"kind": "sail", "cores": 2},
    "training": {"processes": 1},
    "alerts": {"channels": ["logfile://data/alerts.log"]},
}


def good_rows(seed: int = 0) -> list[dict[str, str]]:
    """Rows as a file holds them; people with a large amount leave."""
    draw = random.Random(seed)
    rows = []
    for number in range(1, ROWS + 1):
        amount = draw.uniform(0, 1000)
        left = int(amount + draw.gauss(0, 150) > 600)
        rows.append(
            {
                "id": str(number),
                "amount": f"{amount:.2f}",
                "age": str(draw.randint(18, 80)),
                "tenure": str(draw.randint(0, 10)),
                "city": draw.choice(("Paris", "Madrid", "Berlin")),
                "left": str(left),
            }
        )
    return rows


def write_csv(path: Path, rows: list[dict[str, str]], columns: tuple[str, ...] = COLUMNS) -> None:
    """Write a landing file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def write_project(home: Path) -> Path:
    """Write use case, environment and landing file; return the path of `defs.yaml`."""
    file = home / "defs" / "tiny" / "defs.yaml"
    file.parent.mkdir(parents=True)
    document = {"type": "pipeline_assets.MLPipeline", "attributes": ATTRIBUTES}
    file.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    (home / "environment.yaml").write_text(yaml.safe_dump(ENVIRONMENT), encoding="utf-8")
    write_csv(home / "landing" / "a.csv", good_rows())
    return file


@contextmanager
def at_home(home: Path, **further: str) -> Iterator[None]:
    """Make `home` the folder of everything that this process and its children keep."""
    variables = {
        "PIPELINE_HOME": str(home),
        "PIPELINE_ENV": str(home / "environment.yaml"),
        "DAGSTER_DISABLE_TELEMETRY": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        **further,
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        for name in ("PIPELINE_ENGINE", "PIPELINE_LAKE", "MLFLOW_TRACKING_URI"):
            patch.delenv(name, raising=False)
        shared.environment_of.cache_clear()
        try:
            yield
        finally:
            shared.environment_of.cache_clear()


@contextmanager
def published_project(home: Path, *, assets: tuple[str, ...] = ()) -> Iterator[Project]:
    """The use case with the given assets (all by default) published once from good rows."""
    file = write_project(home)
    with at_home(home), dg.DagsterInstance.ephemeral(tempdir=str(home)) as instance:
        project = Project(home=home, file=file, instance=instance)
        selection = [dg.AssetKey(["tiny", asset]) for asset in assets]
        result = project.run(asset_selection=selection or None)
        assert result.success, failure_text(result)
        yield project
