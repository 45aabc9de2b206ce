"""The checks of the doctor, one by one; sessions and stores are real, in a process of their own."""

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline_assets.__main__ import main
from pipeline_assets.command import checkup
from pipeline_assets.environments import load_environment
from pipeline_assets.lake import Lake

ROOT = Path(__file__).parents[2]


def test_packages_are_compared_with_the_lock(tmp_path: Path):
    lock = tmp_path / "requirements.lock"
    lock.write_text("pytest==0.0.1\nno-such-package-here==1\n    # via x\n")
    found = checkup.check_packages(lock)
    assert found.verdict == "warn"
    assert "pytest" in found.found
    assert "instead of 0.0.1" in found.found
    assert "no-such-package-here is missing" in found.found
    assert "make setup" in found.hint
    assert checkup.check_packages(tmp_path / "none").verdict == "warn"


def test_lake_probe_leaves_nothing_behind(tmp_path: Path):
    assert checkup.check_lake(Lake(str(tmp_path / "lake"))).verdict == "ok"
    assert list((tmp_path / "lake").iterdir()) == []


def test_a_lake_that_cannot_be_written_fails_with_a_hint(tmp_path: Path):
    (tmp_path / "lake").write_text("a file, not a folder")
    found = checkup.check_lake(Lake(str(tmp_path / "lake")))
    assert found.verdict == "fail"
    assert "PIPELINE_LAKE" in found.hint


def test_an_unreachable_mlflow_server_fails(use_cases: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    found = checkup.check_mlflow(load_environment())
    assert found.verdict == "fail"
    assert "MLFLOW_TRACKING_URI" in found.hint


def test_disk_thresholds(use_cases: Path, monkeypatch: pytest.MonkeyPatch):
    environment = load_environment()
    for free, verdict in ((2**30, "fail"), (5 * 2**30, "warn"), (100 * 2**30, "ok")):
        usage = type("Usage", (), {"free": free})
        monkeypatch.setattr(checkup.shutil, "disk_usage", lambda _, usage=usage: usage)
        assert checkup.check_disk(environment).verdict == verdict


def test_a_java_that_is_needed_and_missing_fails(use_cases: Path, monkeypatch: pytest.MonkeyPatch):
    from pipeline_assets.engine.errors import EngineError

    def none() -> None:
        raise EngineError("no Java; install the extra spark")

    monkeypatch.setattr("pipeline_assets.engine.java.find_java", none)
    assert checkup.check_java(load_environment()).verdict == "ok"
    monkeypatch.setenv("PIPELINE_ENGINE", "spark")
    found = checkup.check_java(load_environment())
    assert found.verdict == "fail"
    assert "extra spark" in found.found


def test_a_missing_source_fails_and_a_demo_source_does_not(use_cases: Path):
    from pipeline_assets.command.use_cases import find_use_case
    from pipeline_assets.spec import DemoData

    environment, shop = load_environment(), find_use_case("shop")
    (found,) = checkup.check_sources({"shop": shop}, environment)
    assert found.verdict == "fail"
    demo = shop.model_copy(update={"source": shop.source.model_copy(update={"demo": DemoData()})})
    (found,) = checkup.check_sources({"shop": demo}, environment)
    assert found.verdict == "ok"
    assert "20,000" in found.found


def test_the_whole_check_on_this_machine(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-m", "pipeline_assets", "check"],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PIPELINE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("Python", "packages", "lake", "engine", "MLflow", "torch", "source churn"):
        assert f"  {name} " in done.stdout
    assert "fail" not in done.stdout


def test_a_wrong_environment_is_one_sentence(
    use_cases: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("PIPELINE_ENV", "nowhere")
    assert main(["check"]) == 2
    assert "there is no environment 'nowhere'" in capsys.readouterr().err


def test_nobody_makes_up_rows_outside_the_home(use_cases: Path, tmp_path: Path):
    from pipeline_assets.command.use_cases import find_use_case
    from pipeline_assets.demo_data import ensure_demo_data
    from pipeline_assets.spec import DemoData

    environment = load_environment().model_copy(update={"home": tmp_path / "home"})
    shop = find_use_case("shop")
    source = shop.source.model_copy(update={"demo": DemoData(rows=10)})
    demo = shop.model_copy(update={"source": source})
    (found,) = checkup.check_sources({"shop": demo}, environment)
    assert found.verdict == "fail"
    assert ensure_demo_data(source, home=environment.home) is None
    assert not Path(source.uri).exists()


def test_a_source_in_the_users_home_and_its_password(
    use_cases: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_environment().locate("~/landing") == str(tmp_path / "landing")
    from pipeline_assets.spec import Source

    source = Source(uri="sftp://shop:geheim@host/in", format="csv")
    assert source.model_dump()["uri"] == "sftp://…@host/in"
    assert "geheim" in source.uri


def test_a_feature_of_an_unknown_column_fails(use_cases: Path):
    from pipeline_assets.command import doctor

    file = use_cases / "shop" / "defs.yaml"
    file.write_text(file.read_text().replace("expression: number", "expression: numbr"))
    found = next(f for f in doctor.findings() if f.name == "use case shop")
    assert found.verdict == "fail"
    assert "numbr" in found.found


def test_a_client_of_an_object_store_may_raise_anything(monkeypatch: pytest.MonkeyPatch):
    class NoCredentials(Exception):
        pass

    def refuse(*_: object) -> None:
        raise NoCredentials("unable to locate credentials")

    lake = Lake("memory://lake")
    monkeypatch.setattr(lake.storage, "write_bytes", refuse)
    found = checkup.check_lake(lake)
    assert found.verdict == "fail"
    assert "unable to locate credentials" in found.found
