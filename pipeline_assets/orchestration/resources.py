"""What assets are given: the environment with its lake, and the Spark session.

The MLflow resource is bound per use case in `training`, because its experiment carries the use case's name.
"""

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster_pyspark import LazyPySparkResource

from pipeline_assets.environments import Environment, load_environment
from pipeline_assets.lake import Dataset, Lake
from pipeline_assets.spec import Source

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@lru_cache
def environment_of(name: str) -> Environment:
    """The environment of that name (`PIPELINE_ENV` where empty), read once per process."""
    return load_environment(name or None)


class Platform(dg.ConfigurableResource):
    """The environment: where data lives, where models are registered, who is alerted."""

    environment_name: str = ""
    """Name of an environment file; `PIPELINE_ENV`, or `local`, where empty."""

    @property
    def environment(self) -> Environment:
        """The typed environment."""
        return environment_of(self.environment_name)

    @property
    def lake(self) -> Lake:
        """The lake of published versions."""
        settings = self.environment.lake
        return Lake(settings.uri, settings.storage_options)

    def located(self, source: Source) -> Source:
        """The source with a relative path taken from the environment's home."""
        return source.model_copy(update={"uri": self.environment.locate(source.uri)})

    def dataset(self, use_case: str, asset: str) -> Dataset:
        """The published versions of one asset."""
        return self.lake.dataset(use_case, asset)


class Engine(LazyPySparkResource):
    """One PySpark session per process, on the engine that the environment names.

    dagster-pyspark makes the session; this class only starts the embedded engine first, when the
    session is asked for, and hands over its address. A run that touches no data starts no engine.
    """

    spark_config: dict[str, Any] = {}
    environment_name: str = ""

    def _init_session(self) -> None:
        if self._spark_session is None:
            from pipeline_assets.engine import connect_url, session_conf, start_session

            settings = environment_of(self.environment_name).engine
            self.spark_config.update(session_conf(settings))
            self.spark_config["spark.remote"] = connect_url(settings)
            super()._init_session()
            # The same session; with the patience for calls that a local engine needs.
            start_session(settings, "pipeline_assets")

    @property
    def session(self) -> "SparkSession":
        """The session; starts the engine on first use."""
        return self.spark_session
