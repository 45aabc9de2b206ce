"""Dockerfile and Dagster's settings in containers: what they copy, install and name exists; nothing is built."""

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
import yaml

ROOT = Path(__file__).parents[2]
CONNECTION = {
    "DAGSTER_POSTGRES_USER": "dagster",
    "DAGSTER_POSTGRES_PASSWORD": "x",
    "DAGSTER_POSTGRES_HOST": "127.0.0.1",
    "DAGSTER_POSTGRES_DB": "dagster",
}


def instructions(root: Path) -> list[tuple[str, str]]:
    text = (root / "docker" / "Dockerfile").read_text()
    lines = [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in joined.splitlines()]


def problems(root: Path) -> list[str]:
    found = instructions(root)
    return [p for check in (copies, installs, users, named) for p in check(root, found)]


def copies(root: Path, found: list[tuple[str, str]]) -> Iterator[str]:
    ignore = (root / "docker" / "Dockerfile.dockerignore").read_text().splitlines()
    allowed = {line[1:] for line in ignore if line.startswith("!")}
    for kind, text in found:
        for source in text.split()[:-1] if kind == "COPY" else []:
            if not (root / source).exists():
                yield f"COPY {source}: not in the project"
            if source not in allowed:
                yield f"COPY {source}: left out by Dockerfile.dockerignore"


def installs(root: Path, found: list[tuple[str, str]]) -> Iterator[str]:
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    lock = (root / "requirements.lock").read_text()
    text = "\n".join(f"{kind} {rest}" for kind, rest in found)
    extras = re.search(r'ARG EXTRAS="([^"]*)"', text)
    for extra in extras.group(1).split() if extras else ["(no EXTRAS)"]:
        if extra not in project["optional-dependencies"]:
            yield f"no extra {extra}"
    for package in re.findall(r"\^([a-z]+)==", text):
        if not re.search(rf"^{package}==", lock, re.MULTILINE):
            yield f"{package} is not in requirements.lock"
    python = re.search(r"python:(\d+\.\d+)", text)
    if python is None or f">={python.group(1)}" not in project["requires-python"]:
        yield "the image's Python is not the project's"


def users(root: Path, found: list[tuple[str, str]]) -> Iterator[str]:
    user, stage = "root", ""
    for kind, text in [*found, ("FROM", "end")]:
        if kind == "FROM":
            if stage and user == "root":
                yield f"the stage {stage} runs as root"
            stage = text.split()[-1]
        elif kind == "USER":
            user = text.strip()


def named(root: Path, found: list[tuple[str, str]]) -> Iterator[str]:
    from importlib.util import find_spec

    settings = " ".join(text for kind, text in found if kind == "ENV")
    environment = re.search(r"PIPELINE_ENV=(\w+)", settings)
    folder = root / "pipeline_assets" / "environments"
    if environment is None or not (folder / f"{environment.group(1)}.yaml").is_file():
        yield "PIPELINE_ENV names no environment file"
    for kind, text in found:
        for argument in json.loads(text) if kind == "CMD" else []:
            if argument.startswith("pipeline_assets.") and find_spec(argument) is None:
                yield f"no module {argument}"
    exposed = {text for kind, text in found if kind == "EXPOSE"}
    command = next(json.loads(text) for kind, text in found if kind == "CMD")
    if command[command.index("--port") + 1] not in exposed:
        yield "the command's port is not exposed"


def test_everything_that_the_dockerfile_names_exists():
    assert problems(ROOT) == []


@pytest.mark.parametrize(
    ("file", "right", "wrong", "message"),
    [
        ("docker/Dockerfile", "COPY README.md", "COPY READYOU.md", "not in the project"),
        ("docker/Dockerfile.dockerignore", "!requirements.lock", "", "left out"),
        ("docker/Dockerfile", '"postgres s3"', '"postgres s4"', "no extra s4"),
        ("docker/Dockerfile", "'^torch=='", "'^troch=='", "troch is not in"),
        ("docker/Dockerfile", "python:3.11-slim", "python:3.13-slim", "not the project's"),
        ("docker/Dockerfile", "USER pipeline", "USER root", "runs as root"),
        ("docker/Dockerfile", "PIPELINE_ENV=cluster", "PIPELINE_ENV=clutter", "no environment"),
        ("docker/Dockerfile", "assets.definitions", "assets.definition", "no module"),
        ("docker/Dockerfile", "EXPOSE 4000", "EXPOSE 4001", "not exposed"),
    ],
)
def test_a_mistake_is_found(copy: Path, file: str, right: str, wrong: str, message: str):
    text = (copy / file).read_text()
    assert right in text
    (copy / file).write_text(text.replace(right, wrong))
    assert any(message in problem for problem in problems(copy)), problems(copy)


def instance_settings(folder: Path) -> dict[str, Any]:
    """Dagster's own reading of `dagster.yaml`; raises where it does not fit the schema."""
    from dagster._core.instance.config import dagster_instance_config

    return dict(dagster_instance_config(str(folder))[0])


@pytest.mark.parametrize("folder", [ROOT, ROOT / "docker"])
def test_dagster_accepts_its_settings(folder: Path):
    settings = instance_settings(folder)
    assert settings["telemetry"] == {"enabled": False}
    assert settings["concurrency"]["pools"]["default_limit"] == 1
    assert settings["run_monitoring"]["free_slots_after_run_end_seconds"]


def test_dagster_refuses_a_misspelt_setting(copy: Path):
    from dagster import DagsterInvalidConfigError

    file = copy / "docker" / "dagster.yaml"
    file.write_text(file.read_text().replace("max_runtime_seconds", "max_run_time_seconds"))
    with pytest.raises(DagsterInvalidConfigError):
        instance_settings(copy / "docker")


def test_the_postgres_storage_has_its_module_and_driver(monkeypatch: pytest.MonkeyPatch):
    """SQLAlchemy imports the driver when the engine is made; it connects later."""
    from dagster._config import process_config, resolve_to_config_type
    from dagster_postgres import DagsterPostgresStorage
    from dagster_postgres.utils import pg_url_from_config

    for name, value in CONNECTION.items():
        monkeypatch.setenv(name, value)
    storage = yaml.safe_load((ROOT / "docker" / "dagster.yaml").read_text())["storage"]["postgres"]
    done = process_config(resolve_to_config_type(DagsterPostgresStorage.config_type()), storage)
    assert done.success, done.errors
    assert done.value
    url = pg_url_from_config(done.value)
    assert sqlalchemy.create_engine(url).url.host == "127.0.0.1"


def test_the_driver_of_mlflows_database_is_installed():
    text = (ROOT / "docker" / "compose.yaml").read_text()
    (scheme,) = re.findall(r"--backend-store-uri=([\w+]+)://", text)
    sqlalchemy.create_engine(f"{scheme}://user:x@127.0.0.1/mlflow")
