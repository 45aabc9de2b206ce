"""The arrival sensor's requests are runs of the data job, one for the files of each range."""

from pathlib import Path
from typing import Any

import dagster as dg

from pipeline_assets.orchestration.resources import Platform
from tests.orchestration.conftest import failure_text
from tests.orchestration.timed_use_case import TimedProject, day, timed_project


def tick(project: TimedProject, cursor: str | None) -> Any:
    """What the daemon gets: requests with their partitions resolved, the cursor, or the reason to skip."""
    definitions = project.definitions()
    context = dg.build_sensor_context(
        instance=project.instance,
        cursor=cursor,
        definitions=definitions,
        resources={"platform": Platform()},
    )
    return definitions.resolve_sensor_def("payments_arrivals").evaluate_tick(context)


def test_arrived_files_become_published_partitions(tmp_path: Path):
    changes = {"time": {"arrivals": {"settle": "0s"}}}
    with timed_project(tmp_path, changes, days=3) as project:
        project.land(5)
        seen, requests = tick(project, None), []
        while seen.run_requests:
            requests += seen.run_requests
            seen = tick(project, seen.cursor)
        assert [request.partition_key for request in requests] == [None, day(5)]
        for request in requests:
            result = project.run(
                "data", partition_key=request.partition_key, tags=dict(request.tags)
            )
            assert result.success, failure_text(result)
        assert list(project.published("tensor_shards")) == [*project.all_days(0, 2), day(5)]

        nothing = tick(project, seen.cursor)
        assert not nothing.run_requests
        assert nothing.skip_message == "no new files"

        project.land(4)
        waits = tick(project, seen.cursor)
        assert f"not complete yet: {day(4)}" in str(waits.skip_message)
        (late,) = list(tick(project, waits.cursor).run_requests or [])
        assert late.partition_key == day(4)
        assert late.tags["pipeline_assets/arrival"] == "late"
        assert late.tags["pipeline_assets/arrival_why"].startswith(f"{day(4)}.parquet arrived late")


def test_nothing_is_asked_for_while_a_run_of_the_data_is_under_way(tmp_path: Path):
    with timed_project(tmp_path, {"time": {"arrivals": {"settle": "0s"}}}, days=3) as project:
        job = project.definitions().resolve_job_def("payments_data")
        run = project.instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
        waits = tick(project, None)
        assert not waits.run_requests and waits.cursor is None
        assert run.run_id in str(waits.skip_message)
        project.instance.report_run_failed(run)
        assert tick(project, None).run_requests
