"""A project in a temporary folder: its own lake, registry, Dagster instance and use cases."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from pipeline_assets.features.use_cases import load_checked_use_case
from pipeline_assets.lake import Lake
from pipeline_assets.orchestration import resources as shared
from pipeline_assets.orchestration.definitions import use_case_definitions
from pipeline_assets.spec import UseCase

CHURN = Path(__file__).parents[2] / "pipeline_assets" / "defs" / "churn" / "defs.yaml"
SMALL = {
    "source": {"demo": {"rows": 3000}, "split_bytes": 65536},
    "training": {"max_epochs": 6, "batch_size": 64, "learning_rate": 0.005},
    # A few hundred test rows and six epochs: the gate shall hold, by a margin that chance leaves.
    "evaluation": {
        "bootstrap_samples": 50,
        "permutation_repeats": 1,
        "gate": {"minimum": 0.75, "tolerance": 0.05},
    },
}


@dataclass
class Project:
    """One use case in one folder."""

    home: Path
    file: Path
    instance: dg.DagsterInstance

    @property
    def use_case(self) -> UseCase:
        return load_checked_use_case(self.file)

    @property
    def lake(self) -> Lake:
        return Lake(str(self.home / "data" / "lake"))

    def current(self, asset: str) -> Any:
        return self.lake.dataset(self.use_case.name, asset).current()

    def versions(self) -> dict[str, str]:
        """Asset to its published data version."""
        return {
            dataset.asset: version.data_version
            for dataset in self.lake.datasets()
            if (version := dataset.current()) is not None
        }

    def definitions(self) -> dg.Definitions:
        return dg.Definitions.merge(
            use_case_definitions(self.use_case),
            dg.Definitions(
                resources={"platform": shared.Platform(), "engine": shared.Engine()},
                executor=dg.in_process_executor,
            ),
        )

    def run(self, job: str = "full", **options: Any) -> dg.ExecuteInProcessResult:
        """Execute a job of the use case in this process."""
        definition = self.definitions().resolve_job_def(f"{self.use_case.name}_{job}")
        return definition.execute_in_process(
            instance=self.instance, raise_on_error=False, **options
        )

    def edit(self, change: Callable[[dict[str, Any]], None]) -> None:
        """Change the attributes in the use case's YAML."""
        document = yaml.safe_load(self.file.read_text(encoding="utf-8"))
        change(document["attributes"])
        self.file.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")


def merge(target: dict[str, Any], changes: dict[str, Any]) -> None:
    """Put nested `changes` into `target`."""
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(target.get(key), dict):
            merge(target[key], value)
        else:
            target[key] = value


def failure_text(result: dg.ExecuteInProcessResult) -> str:
    """What a person reads about the failed steps."""
    texts = []
    for event in result.all_events:
        if event.is_step_failure and event.step_failure_data.error:
            data = event.step_failure_data
            metadata = data.user_failure_data
            texts.append(f"{data.error.message} {metadata.description if metadata else ''}")
    return "\n".join(texts)


@pytest.fixture(autouse=True)
def _nothing_of_other_tests() -> Iterator[None]:
    """Runs start the engine and the store that their environment names.

    Set aside are the sessions that fixtures share, and the tracking URI that MLflow puts into the
    process environment when it is set once.
    """
    from pyspark.sql.connect.session import SparkSession

    def active() -> SparkSession | None:
        return getattr(SparkSession._active_session, "session", None)

    kept = SparkSession._default_session, active()
    store = os.environ.pop("MLFLOW_TRACKING_URI", None)
    SparkSession._default_session = SparkSession._active_session.session = None
    yield
    SparkSession._default_session, SparkSession._active_session.session = kept
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    if store is not None:
        os.environ["MLFLOW_TRACKING_URI"] = store


@pytest.fixture
def make_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Project]]:
    """Build the churn use case, made small, in a folder of its own."""
    monkeypatch.setenv("PIPELINE_HOME", str(tmp_path))
    monkeypatch.delenv("PIPELINE_ENV", raising=False)
    monkeypatch.delenv("CHURN_SOURCE", raising=False)
    shared.environment_of.cache_clear()
    with dg.DagsterInstance.ephemeral(tempdir=str(tmp_path)) as instance:

        def make(changes: dict[str, Any] | None = None) -> Project:
            file = tmp_path / "defs" / "churn" / "defs.yaml"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(CHURN.read_text(encoding="utf-8"), encoding="utf-8")
            project = Project(home=tmp_path, file=file, instance=instance)
            project.edit(lambda attributes: merge(attributes, SMALL))
            project.edit(lambda attributes: merge(attributes, changes or {}))
            return project

        yield make
    shared.environment_of.cache_clear()


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow store with its tables."""
    from pipeline_assets.registry import prepare_store

    file = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    prepare_store(f"sqlite:///{file}")
    return file
