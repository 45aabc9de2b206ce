"""compose.yaml: every path, service, port, variable, module, command and option that it names exists.

No container is started. Each check is shown to fail on a copy with one mistake.
"""

import functools
import importlib.util
import itertools
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
# Variables that other programs read: the Postgres image, Spark's worker, the AWS libraries.
FOREIGN = re.compile(r"POSTGRES_(USER|DB|PASSWORD)|SPARK_WORKER_(CORES|MEMORY)|AWS_\w+")
BY_THE_PROJECT = re.compile(
    r"\benv[.:]\s*([A-Z][A-Z0-9_]+)|[\"']((?:PIPELINE|MLFLOW|DAGSTER)_[A-Z_]+)[\"']"
)
SYSTEM_COMMANDS = {"python", "pg_isready"}


def read(root: Path) -> dict[str, Any]:
    return yaml.safe_load((root / "docker" / "compose.yaml").read_text())


def problems(root: Path) -> list[str]:
    compose = read(root)
    checks = (paths, services, ports, variables, addresses, commands, secrets)
    return [problem for check in checks for problem in check(root, compose)]


def words(service: dict[str, Any]) -> list[str]:
    return [str(word) for word in service.get("command", [])]


def paths(root: Path, compose: dict[str, Any]) -> Iterator[str]:
    docker = root / "docker"
    for name, service in compose["services"].items():
        build = service.get("build")
        if build:
            context = (docker / build["context"]).resolve()
            file = context / build["dockerfile"]
            if not file.is_file():
                yield f"{name}: no {file}"
            elif f" AS {build['target']}\n" not in file.read_text():
                yield f"{name}: no build target {build['target']}"
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                if not (docker / source).exists():
                    yield f"{name}: no {source}"
            elif source not in compose["volumes"]:
                yield f"{name}: volume {source} is not declared"


def services(root: Path, compose: dict[str, Any]) -> Iterator[str]:
    for name, service in compose["services"].items():
        if "healthcheck" not in service:
            yield f"{name}: no health check"
        for other in service.get("depends_on", {}):
            if other not in compose["services"]:
                yield f"{name}: depends on {other}, which does not exist"


def listens(service: dict[str, Any], port: str) -> bool:
    if service.get("image", "").startswith("postgres:"):
        return port == "5432"
    return any(port in re.split(r"[=:/]", word) for word in words(service))


def ports(root: Path, compose: dict[str, Any]) -> Iterator[str]:
    for name, service in compose["services"].items():
        for published in service.get("ports", []):
            if not published.startswith("127.0.0.1:"):
                yield f"{name}: {published} is open to other machines"
            if not listens(service, published.rsplit(":", 1)[1]):
                yield f"{name}: publishes {published}, listens elsewhere"


@functools.cache
def read_by_the_project() -> frozenset[str]:
    files = [
        *(ROOT / "pipeline_assets").rglob("*.py"),
        *(ROOT / "pipeline_assets").rglob("*.yaml"),
        ROOT / "docker" / "dagster.yaml",
    ]
    found = [m for file in files for m in BY_THE_PROJECT.findall(file.read_text(encoding="utf-8"))]
    return frozenset(a or b for a, b in found)


def variables(root: Path, compose: dict[str, Any]) -> Iterator[str]:
    text = (root / "docker" / "compose.yaml").read_text()
    used = set(re.findall(r"\$\{([A-Z_]+)", text))
    example = (root / "docker" / ".env.example").read_text()
    offered = set(re.findall(r"^([A-Z_]+)=", example, re.MULTILINE))
    yield from (f"{name} is not in .env.example" for name in used - offered)
    yield from (f"{name} of .env.example is not used" for name in offered - used)
    for service, settings in compose["services"].items():
        for name in settings.get("environment", {}):
            if name not in read_by_the_project() and not FOREIGN.fullmatch(name):
                yield f"{service}: nothing reads {name}"
    needed = set(re.findall(r"env: ([A-Z_]+)", (root / "docker" / "dagster.yaml").read_text()))
    for service in ("code-location", "webserver", "daemon"):
        missing = needed - set(compose["services"][service]["environment"])
        yield from (f"{service}: dagster.yaml needs {name}" for name in missing)


def addresses(root: Path, compose: dict[str, Any]) -> Iterator[str]:
    workspace = yaml.safe_load((root / "docker" / "workspace.yaml").read_text())
    named = [
        (s["grpc_server"]["host"], str(s["grpc_server"]["port"])) for s in workspace["load_from"]
    ]
    environment = (root / "pipeline_assets" / "environments" / "cluster.yaml").read_text()
    for text in (str(compose["services"]), environment):
        named += re.findall(r"(?:sc|http|spark|[/@:]\w+@)(?:://|)([a-z][a-z-]+):(\d+)", text)
    named += re.findall(r"@([a-z][a-z-]+):(\d+)", str(compose["services"]))
    for host, port in named:
        if host not in compose["services"]:
            yield f"{host}:{port}: no such service"
        elif not listens(compose["services"][host], port):
            yield f"{host} does not listen on {port}"


@functools.cache
def help_text(*command: str) -> str:
    done = subprocess.run(
        [BIN / command[0], *command[1:], "--help"], capture_output=True, text=True, check=False
    )
    return done.stdout if done.returncode == 0 else ""


@functools.cache
def java_classes() -> frozenset[str]:
    spec = importlib.util.find_spec("pyspark")
    assert spec and spec.submodule_search_locations
    jars = Path(spec.submodule_search_locations[0]) / "jars"
    wanted = [*jars.glob("spark-core_*.jar"), *jars.glob("spark-connect_*.jar")]
    names = [name for jar in wanted for name in zipfile.ZipFile(jar).namelist()]
    return frozenset(n.removesuffix(".class").replace("/", ".") for n in names)


def command_problems(command: list[str]) -> Iterator[str]:
    program = command[0]
    if program in SYSTEM_COMMANDS:
        return
    if not (BIN / program).exists():
        yield f"no command {program}"
        return
    for word in command[1:]:
        name = word.partition("=")[2] if word.startswith("--class=") else word
        if name.startswith("org.apache.spark.") and name not in java_classes():
            yield f"no Java class {name}"
    if program.startswith("spark-"):
        return  # shell scripts; starting a JVM for their help takes too long
    verbs = []
    for word in command[1:]:
        if word.startswith("-"):
            break
        verbs.append(word)
    text = help_text(program, *verbs)
    if not text:
        yield f"no command {' '.join([program, *verbs])}"
    for word in command[1:]:
        option = word.partition("=")[0]
        if option.startswith("--") and not re.search(rf"(^|[\s,]){re.escape(option)}\b", text):
            yield f"{program} has no option {option}"
    for option, value in itertools.pairwise(command):
        if option == "--module-name" and importlib.util.find_spec(value) is None:
            yield f"no module {value}"
        if option == "--workspace" and not (ROOT / "docker" / Path(value).name).is_file():
            yield f"no {value}"


def commands(root: Path, compose: dict[str, Any]) -> Iterator[str]:
    for name, service in compose["services"].items():
        if words(service):
            yield from (f"{name}: {text}" for text in command_problems(words(service)))
        test = [str(word) for word in service.get("healthcheck", {}).get("test", [])][1:]
        if test:
            yield from (f"{name}: {text}" for text in command_problems(test))


def secrets(root: Path, compose: dict[str, Any]) -> Iterator[str]:
    if "docker/.env" not in (root / ".gitignore").read_text().splitlines():
        yield "docker/.env is not ignored by git"
    for line in (root / "docker" / ".env.example").read_text().splitlines():
        name, separator, value = line.partition("=")
        if separator and value and re.search("PASSWORD|SECRET|KEY", name):
            yield f"{name} has a committed value"
    for name, service in compose["services"].items():
        for variable, value in service.get("environment", {}).items():
            if re.search("PASSWORD|SECRET|KEY", variable) and not str(value).startswith("${"):
                yield f"{name}: {variable} has a committed value"


def test_everything_that_compose_names_exists():
    assert problems(ROOT) == []


MISTAKES = [
    ("docker/compose.yaml", "dockerfile: docker/Dockerfile", "dockerfile: docker/Dokerfile", "no "),
    ("docker/compose.yaml", "target: spark", "target: sparks", "no build target sparks"),
    ("docker/compose.yaml", "./postgres/create", "./postgres/created", "no ./postgres"),
    ("docker/compose.yaml", "- compute_logs:/opt", "- log:/opt", "volume log is not declared"),
    ("docker/compose.yaml", "mlflow: {condition", "mflow: {condition", "depends on mflow"),
    ("docker/compose.yaml", '"127.0.0.1:${MLFLOW', '"${MLFLOW', "open to other machines"),
    ("docker/compose.yaml", "--port=5000", "--port=5001", "listens elsewhere"),
    ("docker/compose.yaml", "MLFLOW_TRACKING_URI:", "MLFLOW_TRACKING_URL:", "nothing reads"),
    ("docker/compose.yaml", "${CHURN_SOURCE:-}", "${CHURN_SORCE:-}", "not in .env.example"),
    ("docker/compose.yaml", "DAGSTER_POSTGRES_DB:", "DAGSTER_POSTGRES_NAME:", "dagster.yaml needs"),
    ("docker/compose.yaml", "sc://spark-connect:15002", "sc://spark:15002", "no such service"),
    ("docker/compose.yaml", "sc://spark-connect:15002", "sc://spark-connect:15003", "not listen"),
    ("docker/compose.yaml", "@postgres:5432", "@postgres:5433", "does not listen on 5433"),
    ("docker/compose.yaml", "deploy.worker.Worker", "deploy.worker.Woker", "no Java class"),
    ("docker/compose.yaml", "[dagster-daemon, run,", "[dagster-demon, run,", "no command"),
    ("docker/compose.yaml", "liveness-check", "aliveness-check", "no command"),
    ("docker/compose.yaml", "--module-name, pipe", "--modul-name, pipe", "has no option"),
    (
        "docker/compose.yaml",
        "pipeline_assets.definitions]",
        "pipeline_assets.definition]",
        "module",
    ),
    ("docker/compose.yaml", "/opt/dagster/workspace.yaml", "/opt/dagster/work.yaml", "no /opt"),
    ("docker/workspace.yaml", "host: code-location", "host: code", "no such service"),
    ("docker/workspace.yaml", "port: 4000", "port: 4001", "does not listen on 4001"),
    ("docker/.env.example", "DAGSTER_PORT=3000", "DAGSTER_PRT=3000", "is not used"),
    ("docker/.env.example", "POSTGRES_PASSWORD=", "POSTGRES_PASSWORD=x", "committed value"),
    ("pipeline_assets/environments/cluster.yaml", "//mlflow:5000", "//ml:5000", "no such service"),
    (".gitignore", "docker/.env", "", "not ignored"),
]


@pytest.mark.parametrize(("file", "right", "wrong", "message"), MISTAKES)
def test_a_mistake_is_found(copy: Path, file: str, right: str, wrong: str, message: str):
    text = (copy / file).read_text()
    assert right in text
    (copy / file).write_text(text.replace(right, wrong))
    found = problems(copy)
    assert any(message in problem for problem in found), found
