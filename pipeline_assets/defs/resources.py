"""Resources and sensors that all use cases share."""

import dagster as dg

from pipeline_assets.orchestration.alerting import failed_check_alerts, run_failure_alerts
from pipeline_assets.orchestration.executor import executor_of
from pipeline_assets.orchestration.resources import Engine, Platform


@dg.definitions
def resources() -> dg.Definitions:
    """Environment, engine, executor, alerts."""
    return dg.Definitions(
        resources={"platform": Platform(), "engine": Engine()},
        executor=executor_of(),
        sensors=[run_failure_alerts, failed_check_alerts],
    )
