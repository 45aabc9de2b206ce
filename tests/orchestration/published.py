"""Published versions without the work behind them: statistics of made-up customers, a registered model."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa

from pipeline_assets.lake import Version
from pipeline_assets.statistics import FeatureStatistics
from pipeline_assets.statistics.partial import Partial
from pipeline_assets.statistics.summary import summarise
from tests.orchestration.conftest import Project

CHECKS = [
    dg.AssetCheckKey(dg.AssetKey(["churn", "features"]), "like_the_training_data"),
    dg.AssetCheckKey(dg.AssetKey(["churn", "trained_model"]), "trained_on_data_like_todays"),
]


def statistics_of(seed: int, shift: float, rows: int) -> FeatureStatistics:
    """Ages and countries; `shift` in standard deviations of age."""
    random = np.random.default_rng(seed)
    batch = pa.record_batch(
        {
            "_row_id": random.integers(-(2**63), 2**63 - 1, rows),
            "_split": pa.array(["train"] * rows),
            "label": (random.random(rows) < 0.2).astype(np.float32),
            "age": (random.normal(40, 10, rows) + 10 * shift).astype(np.float32),
            "country": pa.array(random.choice(["France", "Spain"], rows).tolist()),
        }
    )
    partial = Partial(["age"], ["country"], limit=8192, bound=2**64 - 1)
    partial.add_file([batch])
    return summarise(partial, vocabulary=1000)


@dataclass
class Publisher:
    """Puts versions into a project's lake and models into its registry."""

    project: Project

    @property
    def tracking_uri(self) -> str:
        return f"sqlite:///{self.project.home}/data/mlflow/mlflow.db"

    def publish(
        self,
        asset: str,
        content: Any,
        *,
        rows: int = 1,
        inputs: dict[str, Version] | None = None,
        file: str = "content.json",
    ) -> Version:
        ancestors: dict[str, Any] = {}
        for name, version in (inputs or {}).items():
            ancestors |= version.manifest.metadata["ancestors"]
            ancestors[name] = {"data_version": version.data_version, "rows": version.rows}
        with self.project.lake.dataset("churn", asset).stage() as staged:
            staged.write_json(file, content)
            staged.seal(
                rows=rows,
                schema=[],
                upstream={name: v.data_version for name, v in (inputs or {}).items()},
                metadata={"ancestors": ancestors},
            )
            return staged.publish()

    def data(
        self, seed: int, *, shift: float = 0.0, rows: int = 4000, statistics: bool = True
    ) -> None:
        """raw, features and (unless told otherwise) feature_statistics."""
        made = [seed, shift, rows]
        raw = self.publish("raw", made, rows=rows)
        self.publish("features", made, rows=rows, inputs={"raw": raw})
        if statistics:
            self.statistics()

    def statistics(self) -> None:
        features = self.project.current("features")
        seed, shift, rows = features.read_json("content.json")
        self.publish(
            "feature_statistics",
            statistics_of(seed, shift, rows).to_dict(),
            inputs={"features": features},
            file="statistics.json",
        )

    def train(self) -> Version:
        """trained_model of the published features; not registered."""
        statistics = self.project.current("feature_statistics")
        return self.publish(
            "trained_model",
            statistics.read_json("statistics.json"),
            inputs={"features": self.project.current("features"), "feature_statistics": statistics},
            file="statistics.json",
        )

    def register(self, model: Version, alias: str = "challenger") -> str:
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        client = MlflowClient(tracking_uri=self.tracking_uri, registry_uri=self.tracking_uri)
        try:
            client.get_registered_model("churn")
        except MlflowException:
            client.create_registered_model("churn")
        registered = client.create_model_version(
            "churn",
            source=f"file://{self.project.home}/model",
            tags={"data_version.trained_model": model.data_version},
        )
        client.set_registered_model_alias("churn", alias, registered.version)
        return registered.version

    def use_store(self, template: Path) -> None:
        """Start from a copy of an empty store: MLflow takes seconds to make its tables."""
        target = Path(self.tracking_uri.removeprefix("sqlite:///"))
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(template, target)


class Sensor:
    """A sensor's ticks, with its cursor kept and its events and runs recorded as the daemon does."""

    def __init__(self, project: Project, name: str = "churn_monitoring") -> None:
        self.project, self.name = project, name
        self.cursor: str | None = None
        self.keys: set[str] = set()
        """Run keys for which a run was launched."""

    def look(self, cursor: str | None = None) -> dg.SensorResult | dg.SkipReason:
        """One evaluation; nothing is recorded."""
        definitions = self.project.definitions()
        with dg.build_sensor_context(
            instance=self.project.instance,
            cursor=cursor if cursor is not None else self.cursor,
            definitions=definitions,
            resources={"platform": definitions.resources["platform"]},
        ) as context:
            return definitions.get_repository_def().get_sensor_def(self.name)(context)

    def tick(self) -> dg.SensorResult:
        """One evaluation with the daemon's effects; requests with a used run key are left out."""
        result = self.look()
        if isinstance(result, dg.SkipReason):
            return dg.SensorResult(skip_reason=result)
        for event in result.asset_events:
            self.project.instance.report_runless_asset_event(event)
        requests = [r for r in result.run_requests or [] if r.run_key not in self.keys]
        self.keys |= {request.run_key for request in requests}
        self.cursor = result.cursor if result.cursor is not None else self.cursor
        return result._replace(run_requests=requests)
