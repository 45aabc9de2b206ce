"""The sensor that requests partitions when their files have arrived. What has arrived is found in `ingest`."""

import datetime as dt

import dagster as dg
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
)

from pipeline_assets.orchestration.automation import Job
from pipeline_assets.orchestration.resources import Platform
from pipeline_assets.spec import UseCase

ARRIVAL_TAG = "pipeline_assets/arrival"
"""On a run: `new`, `late` or `changed`."""
WHY_TAG = "pipeline_assets/arrival_why"
"""On a run: the same as a sentence."""

UNDER_WAY = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
"""Statuses of runs that may still publish."""


def build_arrivals_sensor(use_case: UseCase, job: Job) -> dg.SensorDefinition:
    """`<use_case>_arrivals`: one run for each range of partitions whose files are complete; stopped until
    someone starts it."""
    time = use_case.time
    if time is None:
        raise ValueError(
            f"use case {use_case.name} has no partitions to wait for: it has no `time`"
        )

    @dg.sensor(
        name=f"{use_case.name}_arrivals",
        job=job,
        minimum_interval_seconds=int(time.arrivals.every.total_seconds()),
        default_status=dg.DefaultSensorStatus.STOPPED,
        description=f"Requests partitions of {use_case.name} whose files have arrived.",
    )
    def arrivals(
        context: dg.SensorEvaluationContext, platform: Platform
    ) -> dg.SensorResult | dg.SkipReason:
        from pipeline_assets.ingest.arrivals import look_for_arrivals

        under_way = context.instance.get_runs(
            dg.RunsFilter(job_name=job.name, statuses=UNDER_WAY), limit=1
        )
        if under_way:
            # Its partitions belong to the history of those that would be asked for now.
            return dg.SkipReason(f"run {under_way[0].run_id} of {job.name} is under way")
        uri = platform.located(use_case.source).uri
        look = look_for_arrivals(uri, time, context.cursor, now=dt.datetime.now(dt.UTC))
        requests = []
        for request in look.requests:
            tags = {ARRIVAL_TAG: request.reason, WHY_TAG: request.why}
            if request.first == request.last:
                partition = request.first
            else:
                partition = None
                tags[ASSET_PARTITION_RANGE_START_TAG] = request.first
                tags[ASSET_PARTITION_RANGE_END_TAG] = request.last
            requests.append(
                dg.RunRequest(run_key=request.run_key, partition_key=partition, tags=tags)
            )
        waiting = (
            f"not complete yet: {', '.join(look.waiting[:5])}" if look.waiting else "no new files"
        )
        return dg.SensorResult(
            run_requests=requests,
            cursor=look.cursor,
            skip_reason=None if requests else dg.SkipReason(waiting),
        )

    return arrivals
