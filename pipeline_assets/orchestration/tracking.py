"""The MLflow run that belongs to a Dagster run: one per Dagster run, whatever executor runs its steps."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg

from pipeline_assets.orchestration.resources import environment_of
from pipeline_assets.spec import UseCase


@dataclass
class Tracking:
    """The MLflow run of this Dagster run."""

    run_id: str
    tracking_uri: str
    experiment: str

    def client(self) -> Any:
        """An MLflow client of the environment's tracking server."""
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=self.tracking_uri)

    def log_parameters(self, parameters: Mapping[str, Any]) -> None:
        """Log parameters in one call per hundred (MLflow's limit)."""
        from mlflow.entities import Param

        items = [Param(key, str(value)[:500]) for key, value in parameters.items()]
        for start in range(0, len(items), 100):
            self.client().log_batch(self.run_id, params=items[start : start + 100])

    def log_metrics(self, rows: list[Mapping[str, float]], *, step_key: str | None = None) -> None:
        """Log rows of metrics; `step_key` names the column that holds the step."""
        import time

        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        items = [
            Metric(name, float(value), now, int(row[step_key]) if step_key else 0)
            for row in rows
            for name, value in row.items()
            if name != step_key and isinstance(value, int | float)
        ]
        for start in range(0, len(items), 1000):
            self.client().log_batch(self.run_id, metrics=items[start : start + 1000])


def tracking_key(use_case: UseCase) -> str:
    """Resource key of a use case's tracking."""
    return f"{use_case.name}_mlflow"


def build_tracking(use_case: UseCase) -> dg.ResourceDefinition:
    """dagster-mlflow's resource for the use case's experiment; ends the MLflow run with the right status.

    dagster-mlflow's own hook ends the run at the first failure although other steps may still log to it,
    and needs MLflow in every step; here the resource ends what it has started.
    """

    @dg.resource(description=f"MLflow experiment {use_case.name}")
    def tracking(context: dg.InitResourceContext) -> Iterator[Tracking]:
        # MLflow takes seconds to import: only runs that track anything pay for it.
        import mlflow
        from dagster_mlflow import mlflow_tracking

        from pipeline_assets.registry import prepare_store

        store = environment_of("").mlflow
        uri = store.tracking_uri
        prepare_store(uri, artifact_location=store.artifact_location, experiment=use_case.name)
        settings = context.replace_config(
            {
                "experiment_name": use_case.name,
                "mlflow_tracking_uri": uri,
                "env": {},
                "extra_tags": {"use_case": use_case.name},
            }
        )
        start: Any = mlflow_tracking.resource_fn
        resource = start(settings)
        session = next(resource)
        run = mlflow.active_run()
        if run is None:
            raise RuntimeError("dagster-mlflow did not start an MLflow run")
        result = Tracking(run_id=run.info.run_id, tracking_uri=uri, experiment=use_case.name)
        try:
            yield result
        finally:
            session.end_run(status="FAILED" if _has_failed(context) else "FINISHED")

    return tracking


def _has_failed(context: dg.InitResourceContext) -> bool:
    """Whether a step of the Dagster run has failed for good: any step, not only those that track something."""
    run, instance = context.run, context.instance
    if run is None or instance is None:
        return False
    return bool(instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE))
