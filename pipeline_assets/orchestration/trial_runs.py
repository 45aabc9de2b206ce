"""Trials of a study in MLflow: each a child of the run that executes the study, from its first epoch on."""

import time
from types import TracebackType

import dagster as dg

from pipeline_assets.orchestration.tracking import Tracking
from pipeline_assets.registry.store import RegistryError
from pipeline_assets.tuning.trials import Trial

STUDY_TAG, TRIAL_TAG = "tuning.study", "tuning.trial"
DAGSTER_TAG = "tuning.dagster_run_id"
"""By it a trial's run is found, and ended, when the process was killed. Not `dagster_run_id`: the other steps of
the Dagster run find the run that they share by that one, and must not find a trial."""
_PARENT_TAG = "mlflow.parentRunId"
_OUTCOME_TAG, _MESSAGE_TAG = "tuning.outcome", "tuning.message"
_STATUS = {"completed": "FINISHED", "stopped": "FINISHED", "failed": "FAILED"}
_CUT_OFF = "cut off: the time of the study was over, or the study ended"
_SECONDS = 1.0
"""Between two calls for a trial that runs: epochs may be shorter, and the server is not to slow the study."""
_SECONDS_LOST = 60.0
"""Between two attempts while the server is lost, each of which holds up the study."""


class TrialRuns:
    """Makes a child run of each trial, as a context manager around the study.

    Trials of an execution that was interrupted have runs already, as children of the run that was killed:
    those get the run that continues as their parent, and what they lack. Trials that are not over when the
    study is get the status KILLED. A server that is lost meanwhile does not end the study: a warning, and
    what is missing is sent later, at the latest at the end.
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

        self._tracking, self._log = tracking, log
        self._metric = f"validation_{monitor}"
        # The run begins here, if nothing has asked for it before.
        run_id = tracking.run_id
        self._store = client(tracking.tracking_uri)
        self._children: dict[int, _Child] = {}
        self._missing: dict[int, Trial] = {}
        self._not_before = 0.0
        with store_errors(tracking.tracking_uri, "find the trials of a study"):
            parent = self._store.get_run(run_id)
            self._experiment = parent.info.experiment_id
            known = self._store.search_runs(
                [self._experiment], f"tags.`{STUDY_TAG}` = '{study}'", max_results=50_000
            )
        self._known = {int(run.data.tags[TRIAL_TAG]): run for run in known}
        self._tags = {_PARENT_TAG: run_id, STUDY_TAG: study}
        if "dagster_run_id" in parent.data.tags:
            self._tags[DAGSTER_TAG] = parent.data.tags["dagster_run_id"]

    def __enter__(self) -> "TrialRuns":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Send what is missing. Raises `RegistryError` where that fails, unless the study has its own error."""
        if error is None:
            self._finish()
            return
        try:
            self._finish()
        except RegistryError as fault:
            self._log.warning(f"trials stay as they are in MLflow: {fault}")

    def add(self, trial: Trial) -> None:
        """Send what is new of a trial, and what could not be sent before."""
        self._missing[trial.number] = trial
        child, now = self._children.get(trial.number), time.monotonic()
        soon = not trial.is_over and child is not None and now < child.sent + _SECONDS
        if soon or now < self._not_before:
            return
        try:
            self._send()
        except RegistryError as error:
            self._not_before = time.monotonic() + _SECONDS_LOST
            self._log.warning(f"trials are sent to MLflow later: {error}")

    def _send(self) -> None:
        from pipeline_assets.registry import store_errors

        with store_errors(self._tracking.tracking_uri, "log a trial"):
            for number, trial in list(self._missing.items()):
                self._log_trial(trial)
                del self._missing[number]

    def _finish(self) -> None:
        from pipeline_assets.registry import store_errors

        self._send()
        with store_errors(self._tracking.tracking_uri, "end a trial"):
            for child in self._children.values():
                if child.runs:
                    self._store.set_tag(child.run_id, _OUTCOME_TAG, _CUT_OFF)
                    self._store.set_terminated(child.run_id, "KILLED")
                    child.runs = False

    def _log_trial(self, trial: Trial) -> None:
        from mlflow.entities import Metric, RunTag

        known = self._known.get(trial.number)
        if known is not None and known.info.status == _STATUS.get(trial.outcome):
            renewed = [RunTag(key, value) for key, value in self._tags.items()]
            self._store.log_batch(known.info.run_id, tags=renewed)
            return
        child = self._children.get(trial.number) or self._begin(trial)
        now = int((trial.began + trial.seconds) * 1000)
        metrics = [
            Metric(self._metric, score, now, epoch)
            for epoch, score in enumerate(trial.scores, start=1)
            if child.scores.get(epoch) != score
        ]
        tags = [RunTag(_OUTCOME_TAG, trial.outcome)]
        if trial.message:
            tags.append(RunTag(_MESSAGE_TAG, trial.message[:5000]))
        self._store.log_batch(child.run_id, metrics=metrics, tags=tags)
        child.scores |= {metric.step: metric.value for metric in metrics}
        child.sent = time.monotonic()
        if trial.is_over:
            # Last of all: the status tells whether a run has everything.
            self._store.set_terminated(child.run_id, _STATUS[trial.outcome], now)
            child.runs = False

    def _begin(self, trial: Trial) -> "_Child":
        """The run of a trial that begins, or is there and lacks something."""
        from mlflow.entities import Param, RunTag

        tags = {
            **self._tags,
            "mlflow.runName": f"trial {trial.number}",
            TRIAL_TAG: str(trial.number),
        }
        known = self._known.get(trial.number)
        scores: dict[int, float] = {}
        if known is None:
            began = int(trial.began * 1000)
            run = self._store.create_run(self._experiment, start_time=began, tags=tags)
            run_id = run.info.run_id
        else:
            run_id = known.info.run_id
            history = self._store.get_metric_history(run_id, self._metric)
            scores = {item.step: item.value for item in history}
            self._store.update_run(run_id, status="RUNNING")
            if _MESSAGE_TAG in known.data.tags:
                self._store.delete_tag(run_id, _MESSAGE_TAG)
        parameters = [Param(key, str(value)[:500]) for key, value in trial.settings.items()]
        renewed = [RunTag(key, value) for key, value in tags.items()]
        self._store.log_batch(run_id, params=parameters, tags=renewed)
        self._children[trial.number] = child = _Child(run_id, scores)
        return child


class _Child:
    """The run of a trial, as this execution knows it."""

    def __init__(self, run_id: str, scores: dict[int, float]) -> None:
        self.run_id = run_id
        self.scores = scores
        """Epoch to score, as MLflow has them."""
        self.runs = True
        self.sent = 0.0
        """When something was sent last, in seconds of the monotonic clock."""
