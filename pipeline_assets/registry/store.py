"""Reaching the MLflow store: quietly, with its tables made once, and a sentence where it is away."""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline_assets.spec.credentials import without_credentials

if TYPE_CHECKING:
    from mlflow import MlflowClient

_REACH_SECONDS = 5.0
_SQLITE = "sqlite:///"


class RegistryError(RuntimeError):
    """The registry cannot be used, or lacks what was asked for; the message says what to do."""


class RegistryAwayError(RegistryError, ConnectionError):
    """The server does not answer, which may pass."""


def quiet() -> None:
    """No telemetry, progress bars or notes from MLflow. To be called before MLflow is imported."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)


def client(tracking_uri: str) -> MlflowClient:
    """An MLflow client of a store that answers.

    Raises:
        RegistryError: the server does not answer within seconds (MLflow itself would try for minutes),
            the SQLite file does not exist, or the database is none of MLflow's.
    """
    require_reachable(tracking_uri)
    quiet()
    from mlflow import MlflowClient

    quiet()  # MLflow sets its own log level while it is imported.
    with store_errors(tracking_uri, "open"):
        return MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)


@contextmanager
def store_errors(tracking_uri: str, doing: str) -> Iterator[None]:
    """Turn the errors of MLflow and its database into a sentence.

    Args:
        tracking_uri: the store that is used inside.
        doing: what it was asked for, to follow "refused to", e.g. "log metrics".

    Raises:
        RegistryAwayError: the server was lost on the way.
        RegistryError: everything else that the store refuses.
    """
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError) as error:
        if _lost(error):
            raise _away(tracking_uri, f"was lost when it was to {doing}") from None
        place = sqlite_file(tracking_uri) or without_credentials(tracking_uri)
        reason = without_credentials(str(getattr(error, "orig", None) or error))
        raise RegistryError(f"the MLflow store {place} refused to {doing}: {reason}") from error


def _lost(error: BaseException) -> bool:
    """Whether MLflow's HTTP client gave up: it raises its own error over that of `requests`."""
    import requests

    under = error.__cause__ or error.__context__
    return isinstance(under, requests.ConnectionError | requests.Timeout)


def _away(tracking_uri: str, what: str) -> RegistryAwayError:
    return RegistryAwayError(
        f"the MLflow server {without_credentials(tracking_uri)} {what}; start it, or set "
        "mlflow.tracking_uri in the environment file to where it is"
    )


def require_reachable(tracking_uri: str) -> None:
    """Raise `RegistryError` if there is no store at `tracking_uri`, `RegistryAwayError` if it may come back."""
    file = sqlite_file(tracking_uri)
    if file is not None:
        if not file.exists():
            raise RegistryError(
                f"no MLflow store at {file}: nothing has been tracked or registered in this "
                "environment yet; materialise a model first"
            )
        return
    if not tracking_uri.startswith(("http://", "https://")):
        return
    import requests

    try:
        answer = requests.get(f"{tracking_uri.rstrip('/')}/health", timeout=_REACH_SECONDS)
    except requests.RequestException as error:
        raise _away(tracking_uri, f"does not answer ({type(error).__name__})") from None
    if answer.status_code >= 500:
        raise RegistryAwayError(
            f"the MLflow server {without_credentials(tracking_uri)} answers with status "
            f"{answer.status_code}; see its log"
        )


def prepare_store(
    tracking_uri: str, *, artifact_location: str | None = None, experiment: str | None = None
) -> None:
    """Make the store usable by parallel processes. Cheap to call again.

    SQLite: creates folder and tables (MLflow's migrations, which race when two processes run them) under
    a file lock. An `experiment` that does not exist yet is created with its artefacts at
    `artifact_location`, a path or URI; the location of an existing one cannot change.

    Raises:
        RegistryError: the server does not answer, or the folder cannot be written.
    """
    file = sqlite_file(tracking_uri)
    with store_lock(tracking_uri):
        if file is not None and not file.exists():
            try:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.touch()
            except OSError as error:
                raise RegistryError(
                    f"the MLflow store {file} cannot be created: {error}"
                ) from error
        store = client(tracking_uri)
        if experiment is None:
            store.search_experiments(max_results=1)
        elif store.get_experiment_by_name(experiment) is None:
            store.create_experiment(experiment, artifact_location=_artifact_uri(artifact_location))


@contextmanager
def store_lock(tracking_uri: str) -> Iterator[None]:
    """Exclusive among the processes of this machine that use the same store."""
    file = sqlite_file(tracking_uri)
    if file is not None:
        path = file.with_name(f".{file.name}.lock")
        path.parent.mkdir(parents=True, exist_ok=True)
    else:
        name = hashlib.sha256(tracking_uri.encode()).hexdigest()[:16]
        path = Path(tempfile.gettempdir()) / f"pipeline_assets_mlflow_{os.getuid()}_{name}.lock"
    with path.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def sqlite_file(tracking_uri: str) -> Path | None:
    """The file of a SQLite store, None for other stores."""
    if not tracking_uri.startswith(_SQLITE):
        return None
    return Path(tracking_uri.removeprefix(_SQLITE)).expanduser().absolute()


def store_state(tracking_uri: str) -> str | None:
    """Something that changes whenever the store does, found without MLflow; None where only MLflow knows.

    For a SQLite store: sizes and times of its files; "" where there is none yet.
    """
    file = sqlite_file(tracking_uri)
    if file is None:
        return None
    found = []
    for path in (file, file.with_name(f"{file.name}-wal")):
        if path.exists():
            status = path.stat()
            found.append(f"{status.st_size}:{status.st_mtime_ns}")
    return " ".join(found)


def _artifact_uri(location: str | None) -> str | None:
    if location is None or "://" in location:
        return location
    return Path(location).expanduser().absolute().as_uri()
