"""Alerts: failed runs and failed checks go to the environment's channels."""

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import dagster as dg
from dagster import DagsterEventType

from pipeline_assets.monitoring.alerts import send_alert
from pipeline_assets.orchestration.resources import Platform
from pipeline_assets.spec.credentials import without_credentials

NEWEST_EVALUATIONS = 20
"""Evaluations looked at per check and tick."""
LATE_SECONDS = 600.0
"""How much later than its time stamp an evaluation may become visible: clocks differ, commits take time."""


@dg.run_failure_sensor(
    name="run_failure_alerts",
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Sends an alert for every failed run.",
)
def run_failure_alerts(context: dg.RunFailureSensorContext, platform: Platform) -> None:
    """Alert with the job, the failing steps and the domain's messages."""
    failures = []
    for event in context.get_step_failure_events():
        data = event.step_failure_data
        told = data.user_failure_data.description if data.user_failure_data else None
        message = told or (data.error.message.strip() if data.error else "no message")
        failures.append(f"{event.step_key}: {message}")
    run = context.dagster_run
    _alert(
        platform,
        title=f"{run.job_name} failed",
        body="\n".join(failures or [context.failure_event.message or "no message"])
        + f"\nrun {run.run_id}",
    )


@dataclass(frozen=True, kw_only=True)
class Told:
    """The cursor of `failed_check_alerts`."""

    since: float
    """When the sensor was switched on (UNIX seconds): what failed before is history."""
    newest: float
    """Time of the newest failed evaluation told."""
    events: list[str]
    """Failed evaluations told that are not much older than `newest`."""

    @classmethod
    def parse(cls, cursor: str | None) -> "Told | None":
        """The cursor; anything that is not one of this class counts as none."""
        try:
            return cls(**json.loads(cursor or ""))
        except (ValueError, TypeError):
            return None


@dg.sensor(
    name="failed_check_alerts",
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Sends an alert for every asset check that failed with severity ERROR.",
)
def failed_check_alerts(context: dg.SensorEvaluationContext, platform: Platform) -> dg.SensorResult:
    """Alert with asset, check and description, once for each failed evaluation.

    Instances on SQLite keep events per run, without an order over all runs: the sensor asks for the
    newest evaluations of each check, and remembers which ones it has told.
    """
    told = Told.parse(context.cursor)
    if told is None:
        now = time.time()
        return dg.SensorResult(cursor=json.dumps(asdict(Told(since=now, newest=now, events=[]))))
    floor = max(told.since, told.newest - LATE_SECONDS)
    failed = {
        f"{entry.timestamp}:{check.asset_key.to_user_string()}:{check.check_name}": (entry, check)
        for entry, check in _failed_checks(context)
        if entry.timestamp > floor
    }
    for event, (entry, check) in sorted(failed.items(), key=lambda item: item[1][0].timestamp):
        if event not in told.events:
            _alert(
                platform,
                title=f"check {check.check_name} of {check.asset_key.to_user_string()} failed",
                body=f"{check.description or 'no description'}\nrun {entry.run_id or 'of a sensor'}",
            )
    newest = max((entry.timestamp for entry, _ in failed.values()), default=told.newest)
    seen = Told(since=told.since, newest=max(newest, told.newest), events=sorted(failed))
    return dg.SensorResult(cursor=json.dumps(asdict(seen)))


def _failed_checks(
    context: dg.SensorEvaluationContext,
) -> Iterator[tuple[dg.EventLogEntry, dg.AssetCheckEvaluation]]:
    """The newest evaluations that failed with severity ERROR, of every check of this code location."""
    if context.repository_def is None:
        raise ValueError("the sensor's context lacks the definitions whose checks it watches")
    storage = context.instance.event_log_storage
    for key in context.repository_def.asset_graph.asset_check_keys:
        for record in storage.get_asset_check_execution_history(key, limit=NEWEST_EVALUATIONS):
            entry = record.event
            event = entry.dagster_event if entry else None
            if entry is None or event is None:
                continue
            if event.event_type != DagsterEventType.ASSET_CHECK_EVALUATION:
                continue  # planned, not evaluated yet
            check = event.asset_check_evaluation_data
            if not check.passed and check.severity == dg.AssetCheckSeverity.ERROR:
                yield entry, check


def _alert(platform: Platform, *, title: str, body: str) -> None:
    """Send to all channels; passwords in URIs, which messages of stores may quote, are left out."""
    send_alert(
        platform.environment.alerts.channels,
        title=without_credentials(title),
        body=without_credentials(body),
    )
