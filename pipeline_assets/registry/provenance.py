"""What a registered model says of itself: metrics, parameters, and tags that lead back to where it came from."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pipeline_assets.evaluation.result import Evaluation
from pipeline_assets.spec import UseCase

SERVING_PACKAGES = (
    "mlflow",
    "numpy",
    "pandas",
    "pandera",
    "pyarrow",
    "pydantic",
    "pysail",
    "pyspark",
    "pyyaml",
    "safetensors",
    "torch",
    "xxhash",
)
"""What a serving environment installs besides this package, which travels with the model."""

PACKAGE = Path(__file__).resolve().parent.parent


def metrics_of(evaluation: Evaluation) -> dict[str, float]:
    """`test_<metric>` of the model with `_low` and `_high`, and `test_<baseline>_<metric>`."""
    found: dict[str, float | None] = {"threshold": evaluation.model.threshold}
    for name, estimate in evaluation.model.metrics.items():
        found[f"test_{name}"] = estimate.value
        found[f"test_{name}_low"] = estimate.low
        found[f"test_{name}_high"] = estimate.high
    for baseline in evaluation.baselines:
        for name, estimate in baseline.metrics.items():
            found[f"test_{baseline.name}_{name}"] = estimate.value
    if evaluation.best_possible_auc is not None:
        found["test_best_possible_roc_auc"] = evaluation.best_possible_auc.value
    return {name: value for name, value in found.items() if value is not None}


def parameters_of(use_case: UseCase) -> dict[str, str]:
    """Settings of model, training and of the split that is used, as text."""
    split = "split" if use_case.time_split is None else "time_split"
    parts = {
        part: getattr(use_case, part).model_dump(mode="json")
        for part in ("model", "training", split)
    }
    if use_case.time is not None:
        parts["time"] = use_case.time.model_dump(mode="json", include={"label_delay"})
    found = {
        f"{part}.{key}": json.dumps(value) if isinstance(value, dict | list) else str(value)
        for part, settings in parts.items()
        for key, value in settings.items()
    }
    return {"seed": str(use_case.seed), **{key: value[:6000] for key, value in found.items()}}


def provenance_tags(
    evaluation: Evaluation,
    use_case: UseCase,
    dagster_run_id: str | None,
    data_versions: Mapping[str, str] | None,
) -> dict[str, str]:
    """Where the model came from; on the version and on the run."""
    spec = json.dumps(use_case.model_dump(mode="json"), sort_keys=True)
    versions = evaluation.data_versions if data_versions is None else data_versions
    return {
        "use_case": use_case.name,
        "spec_sha256": hashlib.sha256(spec.encode()).hexdigest(),
        "git_commit": git_commit(),
        **({"dagster_run_id": dagster_run_id} if dagster_run_id else {}),
        **{f"data_version.{asset}": value for asset, value in sorted(versions.items())},
        **{f"package.{name}": _version(name) for name in ("pipeline_assets", *SERVING_PACKAGES)},
        **({"gate": evaluation.verdict.reason[:4000]} if evaluation.verdict else {}),
    }


def git_commit() -> str:
    """Commit of the code, `+changes` behind it where the working tree differs; `PIPELINE_GIT_COMMIT`
    where there is no repository (containers), else `unknown`."""
    given = os.environ.get("PIPELINE_GIT_COMMIT")
    if given:
        return given
    try:
        commit = _git("rev-parse", "HEAD")
        return f"{commit}+changes" if _git("status", "--porcelain", "--", ".") else commit
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(PACKAGE), *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=10,
    )
    return done.stdout.strip()


def installed_packages() -> list[str]:
    """`name==version` of every installed package, from the folders' names: parsing all the packages'
    metadata files takes seconds."""
    stems = {
        folder.stem.rpartition("-")
        for entry in sys.path
        if Path(entry).is_dir()
        for folder in Path(entry).glob("*.dist-info")
    }
    return sorted(f"{name}=={number}" for name, _, number in stems)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
