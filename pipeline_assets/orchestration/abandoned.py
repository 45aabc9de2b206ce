"""Ends runs whose process is gone, so that what they hold is free again: `python -m` this module.

A killed run stays "started" for ever, because Dagster's monitoring asks only launchers that can look after
their workers, and the default one cannot. It keeps its slot in the pool `training`, and the next run would wait
for that slot without end; so every run looks first (see `executor`). Process ids mean something on one machine
only: this is for instances on SQLite, and leaves runs alone that another machine or container has begun.
"""

import logging
import socket
import sys
import warnings
from itertools import product
from pathlib import Path

import dagster as dg
import psutil
from dagster import DagsterRunStatus, RunsFilter

from pipeline_assets.orchestration.resources import environment_of
from pipeline_assets.orchestration.trial_runs import DAGSTER_TAG

_logger = logging.getLogger(__name__)

IN_PROGRESS = [DagsterRunStatus.STARTING, DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING]


MACHINE_TAG = "pipeline_assets/machine"
"""Tag of a run: where its process id means something."""


def machine() -> str:
    """Host name and, on Linux, the process ids' namespace: containers may share a host's name and files."""
    namespace = Path("/proc/self/ns/pid")
    return (
        f"{socket.gethostname()} {namespace.readlink() if namespace.is_symlink() else ''}".strip()
    )


def mark_machine(instance: dg.DagsterInstance, run_id: str) -> None:
    """Note with the run that this machine executes it."""
    instance.add_run_tags(run_id, {MACHINE_TAG: machine()})


def end_abandoned_runs(instance: dg.DagsterInstance, *, marked: bool = False) -> list[str]:
    """Mark runs in progress without a living process as failed, in MLflow as killed, and free their slots.

    Args:
        instance: with its storage in SQLite; nothing is done on another.
        marked: only runs that are known to have begun on this machine; otherwise also those of which
            nobody has noted where they did.

    Returns:
        Their run ids.
    """
    ended = []
    if "sqlite" not in type(instance.event_log_storage).__module__:
        return ended
    here = machine()
    for record in instance.get_run_records(RunsFilter(statuses=IN_PROGRESS)):
        run = record.dagster_run
        if run.tags.get(MACHINE_TAG, None if marked else here) != here:
            continue
        process = _process(instance, run.run_id)
        if process is None or _runs(process, since=record.start_time):
            continue
        now = instance.get_run_by_id(run.run_id)
        if now is None or now.status not in IN_PROGRESS:
            # It has come to its end between the two looks.
            continue
        # The person who starts the next run has taken over: the daemon shall not retry this one.
        instance.add_run_tags(run.run_id, {"dagster/max_retries": "0"})
        instance.report_run_failed(run, f"its process ({process}) ended without a word: killed?")
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
        ended.append(run.run_id)
    if ended:
        end_tracking(ended)
    return ended


def end_tracking(run_ids: list[str]) -> None:
    """Mark what the Dagster runs left as running in MLflow as killed, trials of a study included."""
    uri = environment_of("").mlflow.tracking_uri
    file = uri.removeprefix("sqlite:///")
    if file != uri and not Path(file).exists():
        return
    from pipeline_assets.registry import RegistryError, client, store_errors

    try:
        store = client(uri)
        with store_errors(uri, "end runs"):
            experiments = [experiment.experiment_id for experiment in store.search_experiments()]
            for run_id, tag in product(run_ids, ("dagster_run_id", DAGSTER_TAG)):
                running = f"attributes.status = 'RUNNING' and tags.`{tag}` = '{run_id}'"
                for run in store.search_runs(experiments, running):
                    store.set_terminated(run.info.run_id, status="KILLED")
    except RegistryError as error:
        # Dagster's own record, which the next run depends on, is right by now.
        _logger.warning("runs %s stay RUNNING in MLflow: %s", ", ".join(run_ids), error)


def _process(instance: dg.DagsterInstance, run_id: str) -> int | None:
    """The process that executes the run, as the run itself logged it; None before it has."""
    events = instance.all_logs(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT)
    for entry in events:
        event = entry.dagster_event
        if event is None or event.step_key is not None:
            continue
        pid = event.engine_event_data.metadata.get("pid")
        if pid is not None:
            return int(str(pid.value))
    return None


def _runs(process: int, *, since: float | None) -> bool:
    """Whether the process is the one that began the run, and not a later one of the same number."""
    try:
        found = psutil.Process(process)
        if found.status() == psutil.STATUS_ZOMBIE:
            return False
        return since is None or found.create_time() <= since + 1
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def main() -> int:
    """End the abandoned runs of `DAGSTER_HOME`'s instance; one line for each."""
    warnings.simplefilter("ignore")
    with dg.DagsterInstance.get() as instance:
        for run_id in end_abandoned_runs(instance):
            print(f"run {run_id} was killed: marked as failed, its slots are free")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
