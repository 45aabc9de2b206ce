"""The PySpark session, and what differs between engines: Sail, local Apache Spark, Spark Connect.

Importing this package imports no PySpark: tasks import from here too.
"""

from pipeline_assets.engine.errors import EngineError, readable_errors
from pipeline_assets.engine.publish import bucket_count, write_buckets, write_tasks
from pipeline_assets.engine.reading import read_version
from pipeline_assets.engine.session import (
    connect_url,
    engine_name,
    session_conf,
    start_session,
    stop_session,
)
from pipeline_assets.lake.slots import task_slot

__all__ = [
    "EngineError",
    "bucket_count",
    "connect_url",
    "engine_name",
    "read_version",
    "readable_errors",
    "session_conf",
    "start_session",
    "stop_session",
    "task_slot",
    "write_buckets",
    "write_tasks",
]
