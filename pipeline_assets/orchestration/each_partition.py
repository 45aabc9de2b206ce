"""One stage for every partition of a Dagster run: what was made of one is published and recorded,
whatever becomes of the others.

A range of partitions is one run with one engine session. Small partitions wait for the engine and the
disk most of the time, so a few are made at once. A retry makes only what is missing.
"""

import contextlib
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import dagster as dg
from dagster._core.storage.tags import PARENT_RUN_ID_TAG

from pipeline_assets.lake import Version
from pipeline_assets.orchestration.check_results import over_partitions, restored_checks
from pipeline_assets.orchestration.failures import (
    GateError,
    holds_credentials,
    is_own,
    is_transient,
)
from pipeline_assets.orchestration.recording import (
    partition_materialisation,
    upstream_pointers,
    without_events_of_its_own,
)
from pipeline_assets.orchestration.resources import Platform
from pipeline_assets.orchestration.stage import (
    WHOLE,
    Neighbours,
    StageRun,
    stage_run,
    told_to_dagster,
)
from pipeline_assets.profiling import profile
from pipeline_assets.spec import UseCase
from pipeline_assets.spec.credentials import without_credentials

WORKERS = 4
"""Partitions in the making at once."""
SHOWN = 5
"""Failed partitions whose message is told; the others are named."""

Event = dg.AssetCheckResult | dg.MaterializeResult
Events = Iterator[Event | dg.AssetMaterialization]
Body = Callable[[StageRun], Iterator[Event]]
"""Makes, checks and publishes one partition: check results first, then the results of what is published."""


class PartitionsFailed(Exception):
    """Some partitions of a range failed; those not named are published and recorded."""


@dataclass(kw_only=True)
class Outcome:
    """What became of one partition."""

    run: StageRun
    checks: list[dg.AssetCheckResult] = field(default_factory=list)
    results: list[dg.MaterializeResult] = field(default_factory=list)
    error: Exception | None = None


def each_partition(
    context: dg.AssetExecutionContext,
    platform: Platform,
    use_case: UseCase,
    body: Body,
    *,
    inputs: Callable[[StageRun], object],
    together: Callable[[Sequence[StageRun]], None] | None = None,
) -> Events:
    """Run `body` for each partition of the run, or once for assets without partitions.

    Args:
        context: of the step.
        platform: where versions are.
        use_case: whose assets.
        body: makes one partition.
        inputs: notes what a partition is made of in its run, as `body` does.
        together: computes what `body` needs for all partitions of a range in one pass. Where it fails,
            `body` has to do without, so that one bad partition does not keep the others back.

    Raises:
        dagster.Failure: with the partitions that failed, after all events of the others.
    """
    keys = [WHOLE] if use_case.time is None else list(context.partition_keys)
    if len(keys) == 1:
        with stage_run(context, platform, use_case, keys[0]) as run:
            yield from body(run)
        return
    assets = [key.path[-1] for key in context.assets_def.keys]
    pointers = upstream_pointers(context)
    with profile() as profiler:
        among = Neighbours()
        runs = [
            StageRun(context, platform, use_case, profiler, key, among=among)
            for key in sorted(keys)
        ]
        kept = _up_to_date(runs, assets, inputs) if _is_retry(context) else {}
        missing = [run for run in runs if run.key not in kept]
        if kept:
            context.log.info(f"{len(kept)} of {len(runs)} partitions were published before: kept")
        ready = [run for run in missing if _has_inputs(run, inputs)]
        if together is not None and ready:
            _try_together(context, ready, together)
        outcomes = [*kept.values(), *_make(context, missing, body)]
    outcomes.sort(key=lambda outcome: outcome.run.key)
    yield from over_partitions({o.run.key: o.checks for o in outcomes})
    failed = [outcome for outcome in outcomes if outcome.error is not None]
    if not failed:
        for key in context.assets_def.keys:
            yield without_events_of_its_own(key)
    for outcome in outcomes:
        if outcome.error is None:
            for result in outcome.results:
                yield partition_materialisation(context, outcome.run, result, pointers)
    if failed:
        _raise(context, failed, len(outcomes))


def _make(context: dg.AssetExecutionContext, runs: Sequence[StageRun], body: Body) -> list[Outcome]:
    """Make the partitions, a few at once; an interruption begins no further ones."""
    with _pool() as pool:
        futures: list[Future[Outcome]] = [pool.submit(_make_one, run, body) for run in runs]
        outcomes = []
        for future in futures:
            outcomes.append(future.result())
            if len(outcomes) % 100 == 0:
                context.log.info(f"{len(outcomes)} of {len(runs)} partitions done")
    return outcomes


@contextlib.contextmanager
def _pool() -> Generator[ThreadPoolExecutor]:
    pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="partition")
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _make_one(run: StageRun, body: Body) -> Outcome:
    outcome = Outcome(run=run)
    try:
        for event in body(run):
            if isinstance(event, dg.AssetCheckResult):
                outcome.checks.append(event)
            else:
                outcome.results.append(event)
    except Exception as error:  # noqa: BLE001
        # Told below together with the other failures; the neighbours go on.
        outcome.error = error
    finally:
        run.leave_open(keep=isinstance(outcome.error, GateError))
    return outcome


def _try_together(
    context: dg.AssetExecutionContext,
    runs: Sequence[StageRun],
    together: Callable[[Sequence[StageRun]], None],
) -> None:
    try:
        together(runs)
    except Exception as error:  # noqa: BLE001
        for run in runs:
            run.begin_again()
        context.log.warning(
            f"{len(runs)} partitions could not be computed together, so they are one by one: "
            f"{_told(error)}"
        )


def _told(error: Exception) -> str:
    return without_credentials(f"{type(error).__name__}: {error}")


def _is_retry(context: dg.AssetExecutionContext) -> bool:
    return context.retry_number > 0 or PARENT_RUN_ID_TAG in context.run.tags


def _up_to_date(
    runs: Sequence[StageRun], assets: Sequence[str], inputs: Callable[[StageRun], object]
) -> dict[str, Outcome]:
    """The partitions whose published versions were made from today's inputs by today's code, by key."""
    kept = {}
    for run in runs:
        versions = [
            run.platform.dataset(run.use_case.name, asset).current(run.partition)
            for asset in assets
        ]
        if any(version is None for version in versions):
            continue
        if not _has_inputs(run, inputs):
            continue
        found = [version for version in versions if version is not None]
        if all(_is_made_from(version, run) for version in found):
            kept[run.key] = Outcome(
                run=run,
                checks=[check for version in found for check in restored_checks(version)],
                results=[run.result(version, {"kept": True}) for version in found],
            )
        else:
            run.begin_again()
    return kept


def _has_inputs(run: StageRun, inputs: Callable[[StageRun], object]) -> bool:
    """Note the inputs of a partition; false where one is missing."""
    try:
        inputs(run)
    except Exception:  # noqa: BLE001
        # The same error comes again, and is told then, when the partition is made.
        run.begin_again()
        return False
    return True


def _is_made_from(version: Version, run: StageRun) -> bool:
    manifest = version.manifest
    return manifest.upstream == run.inputs and manifest.code_version == run.code_version(
        manifest.asset
    )


def _raise(context: dg.AssetExecutionContext, failed: Sequence[Outcome], partitions: int) -> None:
    for outcome in failed:
        if outcome.error is not None and not is_own(outcome.error):
            hidden = holds_credentials(outcome.error)
            context.log.error(
                f"partition {outcome.run.key}: {_told(outcome.error)}",
                exc_info=None if hidden else outcome.error,
            )
    told = "; ".join(
        f"{outcome.run.key}: {type(outcome.error).__name__}: {outcome.error}"
        for outcome in failed[:SHOWN]
    )
    others = ", ".join(outcome.run.key for outcome in failed[SHOWN:])
    errors = [outcome.error for outcome in failed if outcome.error is not None]
    cause = next((error for error in errors if is_transient(error)), errors[0])
    remedy = ". Retry the run for these alone"
    if len(failed) < partitions:
        remedy += (
            "; what comes after this stage waits for it: materialise it for the others by itself"
        )
    with told_to_dagster(context):
        raise PartitionsFailed(
            f"{len(failed)} of {partitions} partitions failed"
            + (", the others are published" if len(failed) < partitions else "")
            + f": {told}"
            + (f"; and {others}" if others else "")
            + remedy
        ) from cause
