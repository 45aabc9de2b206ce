"""Trials of a study in MLflow: each a child of the run that finishes the study."""

from typing import Any

import dagster as dg

from pipeline_assets.orchestration.tracking import Tracking
from pipeline_assets.registry.store import RegistryError
from pipeline_assets.tuning.trials import Trial

STUDY_TAG, TRIAL_TAG = "tuning.study", "tuning.trial"
_PARENT_TAG = "mlflow.parentRunId"
_STATUS = {"completed": "FINISHED", "stopped": "FINISHED", "failed": "FAILED"}


class TrialRuns:
    """Makes a child run of each trial that is over.

    Trials of an execution that was interrupted have runs already, as children of the run that was killed:
    those get the run that continues as their parent, and what they lack. A server that is lost meanwhile
    does not end the study: a warning, and `finish` sends what is missing.
    """

    def __init__(
        self, tracking: Tracking, study: str, monitor: str, log: dg.DagsterLogManager
    ) -> None:
        """Begin with what MLflow knows of the study.

        Args:
            tracking: of the Dagster run.
            study: id of the study's journal, which its executions have in common.
            monitor: name of the validation score.
            log: for warnings.

        Raises:
            RegistryError: MLflow does not answer.
        """
        from pipeline_assets.registry import client, store_errors

        self._tracking, self._study, self._monitor, self._log = tracking, study, monitor, log
        self._parent = tracking.run_id
        self._store = client(tracking.tracking_uri)
        self._missing: list[Trial] = []
        self._warned = False
        with store_errors(tracking.tracking_uri, "find the trials of a study"):
            self._experiment = self._store.get_run(self._parent).info.experiment_id
            known = self._store.search_runs(
                [self._experiment], f"tags.`{STUDY_TAG}` = '{study}'", max_results=50_000
            )
        self._known = {run.data.tags[TRIAL_TAG]: run for run in known}

    def add(self, trial: Trial) -> None:
        """Send a trial, and those that could not be sent before."""
        self._missing.append(trial)
        try:
            self._send()
        except RegistryError as error:
            if not self._warned:
                self._log.warning(f"trials are sent to MLflow later: {error}")
            self._warned = True

    def finish(self) -> None:
        """Send what is missing. Raises `RegistryError` where that fails."""
        self._send()

    def _send(self) -> None:
        from pipeline_assets.registry import store_errors

        while self._missing:
            with store_errors(self._tracking.tracking_uri, "log a trial"):
                self._log_trial(self._missing[0])
            self._missing.pop(0)

    def _log_trial(self, trial: Trial) -> None:
        from mlflow.entities import Metric, Param, RunTag

        known = self._known.get(str(trial.number))
        status = _STATUS[trial.outcome]
        if known is not None and known.info.status == status:
            self._store.set_tag(known.info.run_id, _PARENT_TAG, self._parent)
            return
        began, ended = int(trial.began * 1000), int((trial.began + trial.seconds) * 1000)
        tags: dict[str, Any] = {
            _PARENT_TAG: self._parent,
            "mlflow.runName": f"trial {trial.number}",
            STUDY_TAG: self._study,
            TRIAL_TAG: str(trial.number),
            "tuning.outcome": trial.outcome,
            **({"tuning.message": trial.message[:5000]} if trial.message else {}),
        }
        run = known or self._store.create_run(self._experiment, start_time=began, tags=tags)
        self._known[str(trial.number)] = run
        name = f"validation_{self._monitor}"
        metrics = [
            Metric(name, score, ended, epoch) for epoch, score in enumerate(trial.scores, start=1)
        ]
        parameters = [Param(key, str(value)[:500]) for key, value in trial.settings.items()]
        # The tags again: a run whose logging was interrupted is continued, under the parent of now.
        renewed = [RunTag(key, value) for key, value in tags.items()]
        self._store.log_batch(run.info.run_id, metrics=metrics, params=parameters, tags=renewed)
        if not trial.message and "tuning.message" in run.data.tags:
            self._store.delete_tag(run.info.run_id, "tuning.message")
        # Last of all: the status tells whether a run has everything.
        self._store.set_terminated(run.info.run_id, status, ended)
