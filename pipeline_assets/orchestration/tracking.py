"""The MLflow run that belongs to a Dagster run: one per Dagster run, whatever executor runs its steps."""

import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import dagster as dg

from pipeline_assets.orchestration.resources import environment_of
from pipeline_assets.spec import UseCase

_MOST_PARAMETERS, _MOST_METRICS = 100, 1000
"""MLflow's limits per call."""


class Tracking:
    """The MLflow run of this Dagster run. It begins, or is found, when a stage first asks for it.

    So a server that does not answer is the error of the stage that needs it, told and retried like any
    other; stages before it do their work, and runs that track nothing do not wait for MLflow.
    """

    def __init__(self, context: dg.InitResourceContext, experiment: str) -> None:
        self.experiment = experiment
        self.tracking_uri = environment_of("").mlflow.tracking_uri
        self._context = context
        self._session: Any = None

    @cached_property
    def run_id(self) -> str:
        """Id of the MLflow run.

        Raises:
            RegistryError: the server does not answer or refuses.
        """
        # MLflow takes seconds to import: only runs that track anything pay for it.
        from pipeline_assets.registry import prepare_store, store_errors

        store = environment_of("").mlflow
        prepare_store(
            store.tracking_uri,
            artifact_location=store.artifact_location,
            experiment=self.experiment,
        )
        import mlflow
        from dagster_mlflow import mlflow_tracking

        settings = self._context.replace_config(
            {
                "experiment_name": self.experiment,
                "mlflow_tracking_uri": store.tracking_uri,
                "env": {},
                "extra_tags": {"use_case": self.experiment},
            }
        )
        start: Any = mlflow_tracking.resource_fn
        with store_errors(store.tracking_uri, "begin a run"):
            self._session = next(start(settings))
        run = mlflow.active_run()
        if run is None:
            raise RuntimeError("dagster-mlflow did not start an MLflow run")
        return run.info.run_id

    def log_parameters(self, parameters: Mapping[str, Any]) -> None:
        """Log parameters. Raises like `run_id`."""
        from mlflow.entities import Param

        items = [Param(key, str(value)[:500]) for key, value in parameters.items()]
        self._log("params", items, most=_MOST_PARAMETERS)

    def log_metrics(
        self, rows: Sequence[Mapping[str, float]], *, step_key: str | None = None
    ) -> None:
        """Log rows of metrics; `step_key` names the column that holds the step. Raises like `run_id`."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        items = [
            Metric(name, float(value), now, int(row[step_key]) if step_key else 0)
            for row in rows
            for name, value in row.items()
            if name != step_key and isinstance(value, int | float)
        ]
        self._log("metrics", items, most=_MOST_METRICS)

    def last_values(self, metric: str) -> dict[int, float]:
        """Step to the value that the run was told last. Raises like `run_id`."""
        from pipeline_assets.registry import client, store_errors

        run_id = self.run_id
        with store_errors(self.tracking_uri, "read metrics"):
            history = client(self.tracking_uri).get_metric_history(run_id, metric)
        return {item.step: item.value for item in sorted(history, key=lambda item: item.timestamp)}

    def _log(self, what: str, items: list[Any], *, most: int) -> None:
        from pipeline_assets.registry import client, store_errors

        run_id = self.run_id
        with store_errors(self.tracking_uri, f"log {what}"):
            store = client(self.tracking_uri)
            for start in range(0, len(items), most):
                batch: dict[str, Any] = {what: items[start : start + most]}
                store.log_batch(run_id, **batch)

    def end(self) -> None:
        """End the MLflow run as the Dagster run ends; nothing where none was begun."""
        if self._session is None:
            return
        from pipeline_assets.registry import RegistryError, store_errors

        status = "FAILED" if _has_failed(self._context) else "FINISHED"
        try:
            with store_errors(self.tracking_uri, f"end run {self.run_id}"):
                self._session.end_run(status=status)
        except RegistryError as error:
            # What was made is published, or its own error told: this is no reason to fail, too.
            dg.get_dagster_logger().warning(f"MLflow does not know that the run {status}: {error}")


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
        result = Tracking(context, use_case.name)
        try:
            yield result
        finally:
            result.end()

    return tracking


def _has_failed(context: dg.InitResourceContext) -> bool:
    """Whether a step of the Dagster run has failed for good: any step, not only those that track something."""
    run, instance = context.run, context.instance
    if run is None or instance is None:
        return False
    return bool(instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE))
