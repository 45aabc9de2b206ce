"""Bringing the rows of each bucket into one task, and not more than one bucket into a task.

Engines spread rows over tasks by a hash. Few buckets collide under it: two buckets landed in the same
task on both engines, which left the other core idle and doubled the rows that one task holds.
"""

import math
from typing import TYPE_CHECKING

from pipeline_assets.engine.session import engine_name

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

MAX_TASKS = 512
"""Tasks on Sail; with more buckets a task holds several."""

_TASK_KEY = "__task_key"


def one_task_per_bucket(df: "DataFrame", bucket: str, buckets: int) -> "DataFrame":
    """Return the same rows, those of each bucket in a task of their own.

    Args:
        df: The rows.
        bucket: An integer column, 0 to `buckets` - 1.
        buckets: Number of buckets.
    """
    if engine_name(df.sparkSession) == "spark":
        return df.repartitionById(buckets, df[bucket])
    tasks = min(buckets, MAX_TASKS)
    keys = ", ".join(f"{key}L" for key in _keys_of_tasks(df.sparkSession, tasks))
    key = f"element_at(array({keys}), CAST(`{bucket}` % {tasks} AS INT) + 1)"
    spread = df.selectExpr("*", f"{key} AS {_TASK_KEY}").repartition(tasks, _TASK_KEY)
    return spread.drop(_TASK_KEY)


def _keys_of_tasks(spark: "SparkSession", tasks: int) -> list[int]:
    """An integer per task that the engine's hash sends there, found by trying.

    So many are tried that a task is left out once in 3,000 times; it shares another's rows then.
    """
    tried = tasks * (8 + math.ceil(math.log(tasks)))
    hashed = spark.range(0, tried, 1, 1).repartition(tasks, "id")
    keys = dict.fromkeys(range(tasks), tried)
    for key, task in hashed.selectExpr("id", "spark_partition_id()").collect():
        keys[task] = min(keys[task], key)
    return list(keys.values())
