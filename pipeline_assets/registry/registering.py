"""Registering a judged model in MLflow, with everything that says where it came from."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline_assets.evaluation.result import Evaluation
from pipeline_assets.registry.inputs import example, serving_contract, signature
from pipeline_assets.registry.provenance import (
    PACKAGE,
    SERVING_PACKAGES,
    installed_packages,
    metrics_of,
    parameters_of,
    provenance_tags,
)
from pipeline_assets.registry.store import client, quiet, store_errors
from pipeline_assets.registry.versions import (
    CHALLENGER,
    TRAINING_DATE,
    RegisteredModel,
    registered,
    set_alias,
)
from pipeline_assets.spec import UseCase
from pipeline_assets.temporary import temporary_folder

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient


def register(
    *,
    model_folder: Path | str,
    evaluation: Evaluation,
    use_case: UseCase,
    tracking_uri: str,
    mlflow_run_id: str | None = None,
    dagster_run_id: str | None = None,
    data_versions: Mapping[str, str] | None = None,
    input_example: pd.DataFrame | None = None,
    training_date: str | None = None,
    challenger: bool = True,
) -> RegisteredModel:
    """Log the model to an MLflow run, register it as a new version and give it the alias `challenger`.

    What an interrupted attempt has registered already, of the same data and in the same MLflow run, is not
    registered again. The alias stays where a model of a later training date has it.

    Args:
        model_folder: `model.safetensors` and `config.json`.
        evaluation: gives the threshold and the metrics.
        use_case: is stored with the model: contract and features are what serving needs.
        tracking_uri: MLflow's tracking store, which is its registry as well.
        mlflow_run_id: an existing run to log to; without one a run is made in the use case's experiment.
        dagster_run_id: for the tag that leads back to Dagster.
        data_versions: upstream asset to data version; the evaluation's by default.
        input_example: validated rows, a few; without them one row is made up from the contract.
        training_date: of a use case with `time_split`, for a tag.
        challenger: give the alias; false for a model of an earlier date than others that are registered.

    Raises:
        RegistryError: MLflow does not answer or refuses.
    """
    store = client(tracking_uri)
    import mlflow

    columns = serving_contract(use_case).columns
    names = [column.name for column in columns]
    shown = (
        example(columns) if input_example is None else input_example.reindex(columns=names).head(5)
    )
    tags = provenance_tags(evaluation, use_case, dagster_run_id, data_versions)
    if training_date is not None:
        tags[TRAINING_DATE] = training_date
    with store_errors(tracking_uri, f"register {use_case.model_name!r}"):
        with (
            temporary_folder("serving") as folder,
            _run(mlflow, store, tracking_uri, use_case, mlflow_run_id) as run_id,
        ):
            created = _registered_before(store, use_case, run_id, tags)
            if created is None:
                serving = folder / "serving.json"
                serving.write_text(
                    json.dumps(
                        {
                            "use_case": use_case.model_dump(mode="json"),
                            "threshold": evaluation.model.threshold,
                        },
                        indent=1,
                    ),
                    encoding="utf-8",
                )
                logged = mlflow.pyfunc.log_model(
                    name="model",
                    python_model=str(PACKAGE / "registry" / "served_model.py"),
                    artifacts={"model": str(model_folder), "serving": str(serving)},
                    code_paths=[str(PACKAGE)],
                    signature=signature(columns),
                    input_example=shown,
                    pip_requirements=[f"{name}=={version(name)}" for name in SERVING_PACKAGES],
                    metadata={"use_case": use_case.name, "threshold": evaluation.model.threshold},
                )
                _log(store, run_id, logged.model_id, evaluation, use_case, tags)
                created = _create_version(store, use_case, logged, run_id, tags)
        number = int(created.version)
        has_alias = challenger and set_alias(
            use_case.model_name, CHALLENGER, number, tracking_uri=tracking_uri
        )
        return registered(
            store.get_model_version(use_case.model_name, created.version),
            CHALLENGER if has_alias else None,
        )


def _registered_before(
    store: MlflowClient, use_case: UseCase, run_id: str, tags: Mapping[str, str]
) -> Any:
    """The newest version that the run registered of the same data, specification and code, or None."""
    same = {
        key: value
        for key, value in tags.items()
        if key.startswith("data_version.") or key in ("spec_sha256", "git_commit")
    }
    found = store.search_model_versions(f"name = '{use_case.model_name}' and run_id = '{run_id}'")
    found = [version for version in found if same.items() <= version.tags.items()]
    return max(found, key=lambda version: int(version.version), default=None)


@contextmanager
def _run(
    mlflow: Any, store: MlflowClient, tracking_uri: str, use_case: UseCase, run_id: str | None
) -> Iterator[str]:
    """The run to log to, active: the one that is active already, the given one, or a new one."""
    quiet()
    before, path = mlflow.get_tracking_uri(), list(sys.path)
    mlflow.set_tracking_uri(tracking_uri)
    try:
        active = mlflow.active_run()
        if active is not None and run_id in (None, active.info.run_id):
            yield active.info.run_id
        elif run_id is not None:
            info = store.get_run(run_id).info
            status = info.status
            # A process that logged to another experiment before is held to that one until told otherwise.
            mlflow.set_experiment(experiment_id=info.experiment_id)
            with mlflow.start_run(run_id=run_id, nested=active is not None):
                yield run_id
            if status != "RUNNING":
                store.set_terminated(run_id, status)
        else:
            experiment = store.get_experiment_by_name(use_case.name)
            identity = (
                experiment.experiment_id if experiment else store.create_experiment(use_case.name)
            )
            with mlflow.start_run(experiment_id=identity, nested=active is not None) as run:
                yield run.info.run_id
    finally:
        mlflow.set_tracking_uri(before)
        # MLflow tries the example on the logged model, and leaves that model's code on the path, where
        # processes spawned later would find it before this package.
        sys.path[:] = path


def _log(
    store: MlflowClient,
    run_id: str,
    model_id: str,
    evaluation: Evaluation,
    use_case: UseCase,
    tags: Mapping[str, str],
) -> None:
    """Metrics, parameters and tags of the run; the environment's packages as an artefact."""
    from mlflow.entities import Metric, Param, RunTag

    now = int(time.time() * 1000)
    known = store.get_run(run_id).data.params
    parameters = [
        Param(key, value) for key, value in parameters_of(use_case).items() if key not in known
    ]
    store.log_batch(
        run_id,
        metrics=[
            Metric(key, value, now, 0, model_id=model_id)
            for key, value in metrics_of(evaluation).items()
        ],
        params=parameters[:100],
        tags=[RunTag(key, value) for key, value in tags.items()],
    )
    store.log_text(run_id, "\n".join(installed_packages()) + "\n", "environment.txt")
    store.log_text(run_id, evaluation.to_json(), "evaluation.json")


def _create_version(
    store: MlflowClient, use_case: UseCase, logged: Any, run_id: str, tags: Mapping[str, str]
) -> Any:
    from mlflow.exceptions import MlflowException

    try:
        store.create_registered_model(use_case.model_name, description=use_case.description or None)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    return store.create_model_version(
        use_case.model_name,
        source=logged.model_uri,
        run_id=run_id,
        tags=dict(tags),
        model_id=logged.model_id,
        await_creation_for=0,
    )
