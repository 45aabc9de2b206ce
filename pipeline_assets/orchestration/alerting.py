"""Alerts: failed runs and failed checks go to the environment's channels, again where one was not reached.

The alerts that wait for another try are in the cursor of `failed_check_alerts`. A run-failure sensor has
no cursor of its own: it marks the run, and `failed_check_alerts` takes over from there.
"""

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace

import dagster as dg
from dagster import DagsterEventType

from pipeline_assets.monitoring.alerts import send_alert
from pipeline_assets.monitoring.outbox import Delivery, Waiting, deliver
from pipeline_assets.orchestration.resources import Platform
from pipeline_assets.spec.credentials import without_credentials

NEWEST_EVALUATIONS = 20
"""Evaluations looked at per check and tick."""
LATE_SECONDS = 600.0
"""How much later than its time stamp an evaluation may become visible: clocks differ, commits take time."""


UNDELIVERED_TAG = "pipeline_assets/alert_undelivered"
"""On a failed run: positions of the channels that its alert has not reached, "2,3"."""
STATE_TAG = "pipeline_assets/alert"
"""On a failed run whose alert was not delivered at once: `waiting`, then `delivered` or `lost`."""


@dg.run_failure_sensor(
    name="run_failure_alerts",
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Sends an alert for every failed run.",
)
def run_failure_alerts(context: dg.RunFailureSensorContext, platform: Platform) -> None:
    """Alert with the job, the failing steps and the domain's messages."""
    run = context.dagster_run
    alert = _run_alert(context.instance, run)
    results = send_alert(platform.environment.alerts.channels, alert.title, alert.body)
    failed = [str(result.position) for result in results if not result.sent]
    if failed:
        tags = {STATE_TAG: "waiting", UNDELIVERED_TAG: ",".join(failed)}
        context.instance.add_run_tags(run.run_id, tags)


@dataclass(frozen=True, kw_only=True)
class Told:
    """The cursor of `failed_check_alerts`."""

    since: float
    """When the sensor was switched on (UNIX seconds): what failed before is history."""
    newest: float
    """Time of the newest failed evaluation told."""
    events: list[str]
    """Failed evaluations told that are not much older than `newest`."""
    waiting: dict[str, Waiting] = field(default_factory=dict)
    """Alerts that some channel has not got yet."""

    @classmethod
    def parse(cls, cursor: str | None) -> "Told | None":
        """The cursor; anything that is not one of this class counts as none."""
        try:
            known = json.loads(cursor or "")
            waiting = {name: Waiting(**alert) for name, alert in known.pop("waiting", {}).items()}
            return cls(**known, waiting=waiting)
        except (ValueError, TypeError, AttributeError):
            return None


@dg.sensor(
    name="failed_check_alerts",
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Sends an alert for every asset check that failed with severity ERROR; tries again what a "
    "channel did not get.",
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
    waiting = {**told.waiting, **_undelivered_runs(context.instance, told.waiting)}
    for event, (entry, check) in sorted(failed.items(), key=lambda item: item[1][0].timestamp):
        if event not in told.events:
            waiting[event] = _alert(
                title=f"check {check.check_name} of {check.asset_key.to_user_string()} failed",
                body=f"{check.description or 'no description'}\nrun {entry.run_id or 'of a sensor'}",
            )
    delivery = deliver(waiting, platform.environment.alerts.channels, clock=time.time)
    for lost in delivery.lost.values():
        context.log.error(lost)
    _settle_runs(context.instance, waiting, delivery)
    newest = max((entry.timestamp for entry, _ in failed.values()), default=told.newest)
    seen = Told(
        since=told.since,
        newest=max(newest, told.newest),
        events=sorted(failed),
        waiting=delivery.waiting,
    )
    return dg.SensorResult(cursor=json.dumps(asdict(seen)))


def _undelivered_runs(
    instance: dg.DagsterInstance, known: Mapping[str, Waiting]
) -> dict[str, Waiting]:
    """Alerts of failed runs that `run_failure_alerts` could not deliver, by run id."""
    found = {}
    for run in instance.get_runs(dg.RunsFilter(tags={STATE_TAG: "waiting"})):
        if run.run_id not in known:
            channels = [int(text) for text in run.tags[UNDELIVERED_TAG].split(",")]
            found[run.run_id] = replace(_run_alert(instance, run), channels=channels, tries=1)
    return found


def _settle_runs(
    instance: dg.DagsterInstance, waiting: Mapping[str, Waiting], delivery: Delivery
) -> None:
    """Note on the runs whose alerts waited what became of them."""
    for run in instance.get_runs(dg.RunsFilter(tags={STATE_TAG: "waiting"})):
        if run.run_id in waiting and run.run_id not in delivery.waiting:
            state = "lost" if run.run_id in delivery.lost else "delivered"
            instance.add_run_tags(run.run_id, {STATE_TAG: state})


def _run_alert(instance: dg.DagsterInstance, run: dg.DagsterRun) -> Waiting:
    """What is to be told of a failed run."""
    failures, message = [], "no message"
    of_type = {DagsterEventType.STEP_FAILURE, DagsterEventType.RUN_FAILURE}
    for entry in instance.all_logs(run.run_id, of_type=of_type):
        event = entry.dagster_event
        if event is None:
            continue
        if event.event_type == DagsterEventType.RUN_FAILURE:
            message = event.message or message
            continue
        data = event.step_failure_data
        told = data.user_failure_data.description if data.user_failure_data else None
        said = told or (data.error.message.strip() if data.error else "no message")
        failures.append(f"{event.step_key}: {said}")
    return _alert(
        title=f"{run.job_name} failed",
        body="\n".join(failures or [message]) + f"\nrun {run.run_id}",
    )


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


def _alert(*, title: str, body: str) -> Waiting:
    """An alert for all channels, without the passwords in URIs that messages of stores may quote."""
    return Waiting(title=without_credentials(title), body=without_credentials(body))
