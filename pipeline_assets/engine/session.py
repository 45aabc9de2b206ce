"""Starting and stopping the engine of this process. How Apache Spark is started is in `local_spark`."""

import os
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from pipeline_assets.engine.errors import EngineError
from pipeline_assets.environments.types import EngineSettings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


class _Server(Protocol):
    @property
    def url(self) -> str: ...

    @property
    def running(self) -> bool: ...

    def stop(self) -> None: ...


@dataclass(frozen=True)
class _Started:
    server: _Server
    settings: EngineSettings


_lock = threading.RLock()
_started: list[_Started] = []


def _forget() -> None:
    """In a forked child the engine's threads do not exist and its pipes belong to the parent."""
    global _lock
    _lock = threading.RLock()
    _started.clear()


os.register_at_fork(after_in_child=_forget)


def connect_url(settings: EngineSettings) -> str:
    """Return the Spark Connect URL of the engine, started on first use and kept for the process.

    Sail runs inside this process; local Apache Spark is a child that dies with it. Both listen on
    127.0.0.1 only, on a free port.

    Raises:
        EngineError: where the engine cannot start; the message names what to install.
    """
    if settings.kind == "remote":
        return settings.remote or ""
    with _lock:
        for started in list(_started):
            if started.settings == settings and started.server.running:
                return started.server.url
            if not started.server.running:
                started.server.stop()
                _started.remove(started)
        if settings.kind == "sail":
            from pipeline_assets.engine.sail import SailServer

            server: _Server = SailServer(settings)
        else:
            from pipeline_assets.engine.local_spark import SparkServer

            server = SparkServer(settings)
        _started.append(_Started(server=server, settings=settings))
        return server.url


def session_conf(settings: EngineSettings) -> dict[str, str]:
    """Return the configuration of every session: UTC, ANSI, and what the environment adds."""
    return {
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.ansi.enabled": "true",
        "spark.sql.execution.arrow.maxRecordsPerBatch": "65536",
        **(settings.conf if settings.kind != "spark" else {}),
    }


def start_session(settings: EngineSettings, app_name: str = "pipeline_assets") -> "SparkSession":
    """Return the session of this process, started on first use.

    Raises:
        EngineError: where the engine cannot start, or a session with another engine is active: a
            process has one (PySpark would silently hand out the first one again).
    """
    from pyspark.sql import SparkSession
    from pyspark.sql.connect.client.retries import DefaultPolicy

    url = connect_url(settings)
    with _lock:
        active = SparkSession.getActiveSession()
        if active is not None and _url_of(active) not in (None, url):
            raise EngineError(
                f"this process has a session with {_url_of(active)}; call stop_session() before "
                f"starting one with {url}"
            )
        builder = SparkSession.builder.appName(app_name).remote(url)
        for key, value in session_conf(settings).items():
            builder = builder.config(key, value)
        spark = builder.getOrCreate()
        setattr(spark, _URL, url)
        if settings.kind != "remote":
            # A local engine that is gone stays gone: the default policy would ask for ten minutes.
            spark.client.set_retry_policies([DefaultPolicy(max_retries=3)])
        return spark


def stop_session() -> None:
    """Stop the active session and the engines that this process started. Safe to call twice."""
    from pyspark.sql import SparkSession

    with _lock:
        active = SparkSession.getActiveSession()
        if active is not None:
            active.stop()
        while _started:
            _started.pop().server.stop()


def engine_name(spark: "SparkSession") -> str:
    """Return `sail` or `spark`, asked from the engine itself."""
    # Spark answers "4.2.1 <commit>", Sail its own version alone.
    answer = str(spark.sql("SELECT version()").collect()[0][0])
    return "spark" if " " in answer else "sail"


_URL = "_pipeline_assets_url"


def _url_of(spark: "SparkSession") -> str | None:
    return getattr(spark, _URL, None)
