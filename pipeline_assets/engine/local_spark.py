"""Apache Spark on this machine: its Connect server as a child process that dies with its parent."""

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil

from pipeline_assets.engine.errors import EngineError
from pipeline_assets.engine.java import archive_options, cache_folder, find_java, spark_options
from pipeline_assets.environments.types import EngineSettings
from pipeline_assets.lake.slots import available_cores
from pipeline_assets.temporary import make_temporary_folder

START_SECONDS = 120
"""How long the server may take to listen."""

STOP_SECONDS = 30
"""How long it may take to end; the first time it writes the class archive then."""

# Reads its standard input, a pipe that only the parent holds: when the parent is gone, however it
# went, the pipe closes and the server is ended. (A death signal would be tied to the parent's thread.)
_GUARD = """
exec 3<&0
"$@" </dev/null 3<&- &
server=$!
{ cat <&3 >/dev/null; kill -TERM $server; sleep 30; kill -KILL $server; } 2>/dev/null &
guard=$!
exec 3<&-
wait $server
kill $guard 2>/dev/null
rm -rf "$WORK"
"""

# Only errors, and the one line that names the port.
_LOGGING = """\
rootLogger.level = error
rootLogger.appenderRef.console.ref = console
appender.console.type = Console
appender.console.name = console
appender.console.target = SYSTEM_ERR
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %p %c: %m%n%ex
logger.server.name = org.apache.spark.sql.connect.service.SparkConnectServer
logger.server.level = info
"""

_REASON = re.compile(r".*(?:Exception|Error): ")
_LISTENING = re.compile(r"server started at: \S+?:(\d+)")


class SparkServer:
    """A local Spark Connect server."""

    def __init__(self, settings: EngineSettings) -> None:
        java = find_java()
        spark_home = _spark_home()
        # The class archive holds the paths of Java and of Spark's jars, and fits no others.
        place = hashlib.sha256(f"{java.executable}\0{spark_home}".encode()).hexdigest()[:8]
        versions = f"spark-{_pyspark_version()}-java-{java.version}-{place}"
        self._work = make_temporary_folder("spark")
        cache = cache_folder(versions) or self._work
        (self._work / "log4j2.properties").write_text(_LOGGING)
        command = [
            str(java.executable),
            "-cp", f"{spark_home}/jars/*",
            f"-Xmx{_heap_megabytes()}m",
            f"-Dlog4j2.configurationFile={self._work}/log4j2.properties",
            f"-Djava.io.tmpdir={self._work}",
            *spark_options(java, spark_home, cache),
            *archive_options(java, cache),
            "org.apache.spark.deploy.SparkSubmit",
            "--class", "org.apache.spark.sql.connect.service.SparkConnectServer",
            *_arguments(settings, self._work),
            "spark-internal",
        ]  # fmt: skip
        log_path = self._work / "server.log"
        # Held open: the guard removes the folder as soon as the server has ended.
        self._log = log_path.open("w+", errors="replace")
        with log_path.open("wb") as log:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", _GUARD, "sh", *command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=self._work,
                env=_environment(java.executable.parent.parent, spark_home, self._work),
                start_new_session=True,  # Ctrl-C is for the parent, which then ends this
            )
        self.url = f"sc://127.0.0.1:{self._wait_for_port()}"

    @property
    def running(self) -> bool:
        """The server has not ended."""
        return self._process.poll() is None

    def stop(self) -> None:
        """Stop the server and remove its temporary files."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, 9)
            self._process.wait()
        self._log.close()
        shutil.rmtree(self._work, ignore_errors=True)

    def _wait_for_port(self) -> int:
        deadline = time.monotonic() + START_SECONDS
        text = ""
        while time.monotonic() < deadline:
            ended = self._process.poll() is not None
            self._log.seek(0)
            text = self._log.read()
            found = _LISTENING.search(text)
            if found:
                return int(found.group(1))
            if ended:
                break
            time.sleep(0.05)
        self.stop()
        lines = [line for line in text.splitlines() if line.strip()]
        reason = next(
            (line for line in lines if _REASON.search(line)), (lines or ["no output"])[-1]
        )
        raise EngineError(
            f"Apache Spark did not start: {_REASON.sub('', reason).strip()}; check "
            "engine.conf and engine.master of the environment, and the free memory"
        )


def _arguments(settings: EngineSettings, work: Path) -> list[str]:
    cores = settings.cores or available_cores()
    conf = {
        "spark.master": settings.master or f"local[{cores}]",
        "spark.app.name": "pipeline_assets",
        "spark.connect.grpc.binding.address": "127.0.0.1",
        "spark.connect.grpc.binding.port": "0",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.local.dir": str(work),
        "spark.sql.warehouse.dir": str(work / "warehouse"),
        "spark.sql.shuffle.partitions": str(2 * cores),
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.pyspark.python": sys.executable,
        "spark.pyspark.driver.python": sys.executable,
        **settings.conf,
    }
    return [word for key, value in conf.items() for word in ("--conf", f"{key}={value}")]


def _environment(java_home: Path, spark_home: Path, work: Path) -> dict[str, str]:
    inherited = {
        key: value
        for key, value in os.environ.items()
        # Another installation's settings, or those of a session that this process has.
        if not key.startswith(("SPARK_", "PYSPARK_"))
    }
    return {
        **inherited,
        "JAVA_HOME": str(java_home),
        "SPARK_HOME": str(spark_home),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "PYSPARK_PYTHON": sys.executable,
        "PYSPARK_DRIVER_PYTHON": sys.executable,
        "PYTHONWARNINGS": "ignore",
        "WORK": str(work),
    }


def _spark_home() -> Path:
    spec = importlib.util.find_spec("pyspark")
    home = Path(spec.origin).parent if spec is not None and spec.origin else None
    if home is None or not (home / "jars").is_dir():
        raise EngineError(
            "the installed PySpark has no Apache Spark inside (package pyspark-client?); install "
            "`pyspark[connect]`, or use the embedded engine (PIPELINE_ENGINE=sail)"
        )
    return home


def _pyspark_version() -> str:
    from importlib.metadata import version

    return version("pyspark")


def _heap_megabytes() -> int:
    """A quarter of the memory, at least 1 GiB, at most 8 GiB."""
    total = psutil.virtual_memory().total // 2**20
    return min(8192, max(1024, total // 4))
