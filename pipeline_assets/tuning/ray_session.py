"""Ray for one study: processes of its own on this machine, or a cluster that is there.

On one machine Ray listens on the loopback address only and asks for a token of this process; it sends no usage
reports and has no dashboard. Its processes and files are gone when the session ends, also by SIGKILL.
"""

import logging
import os
import secrets
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline_assets.training.processes import available_cores
from pipeline_assets.tuning.errors import TuningError
from pipeline_assets.tuning.guard import start_guard

_PREFIX = "ray_study_"
_LONGEST_SOCKET = 107
"""Bytes of a Unix socket's path on Linux."""
_BELOW = len("/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store.9")
_OBJECT_STORE_BYTES = 100 * 2**20
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_enable_metrics_collection": "0",
    # Seconds; on a machine that is busy otherwise, half a minute was too short.
    "RAY_gcs_server_port_wait_time_s": "120",
    # Its own loggers write a CSV, a JSON and a TensorBoard file per trial; the journal has what they have.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # Its snapshots of the experiment are pickles that nobody reads.
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    # A trial that fails has no score.
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    # It would end the study on Ctrl-C as if it were finished.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
}
_REACH_SECONDS = 5.0
_LOOPBACK = "127.0.0.1"
_TOKEN = secrets.token_hex(16)
"""Ray keeps the first one that it sees for as long as the process lives."""
# Ray takes a machine's outer address for the loopback one unless it is told that there are no other machines;
# the variable, for its processes, has its name from the systems where that is the default.
_ONE_MACHINE = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
_SET_BY_RAY = "RAY_AUTH_MODE"


@dataclass(frozen=True, kw_only=True)
class RaySession:
    """A session that is there."""

    folder: Path
    """For files of this session; removed at its end."""
    cpus: float
    """Cores for trials."""
    gpus: float
    """GPUs for trials."""

    def concurrency(self, cpus: float, gpus: float) -> int:
        """How many trials that need so much fit at once.

        Raises:
            TuningError: not one.
        """
        fits = int(self.cpus / cpus)
        if gpus > 0:
            fits = min(fits, int(self.gpus / gpus))
        if fits < 1:
            raise TuningError(
                f"a trial needs {cpus:g} cores and {gpus:g} GPUs, Ray has {self.cpus:g} and "
                f"{self.gpus:g}: lower tuning.resources, or use a larger machine"
            )
        return fits


@contextmanager
def ray_session(address: str | None = None) -> Iterator[RaySession]:
    """Start Ray, or connect to a cluster; end what was started.

    Args:
        address: `host:port` of a cluster that this machine belongs to; None for this machine alone.

    Raises:
        TuningError: no such cluster, or a folder for temporary files whose path is too long.
    """
    with _variables(alone=address is None):
        import ray

        # Importing Ray sets levels of its own.
        for logger in ("ray", "ray.tune", "ray.data", "optuna"):
            logging.getLogger(logger).setLevel(logging.ERROR)
        if ray.is_initialized():
            raise TuningError("Ray runs in this process already: end it first, a study has its own")
        handlers = _handlers()
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=_short_folder()))
        guard = start_guard(folder)
        try:
            if address is None:
                _start(folder)
            else:
                _connect(address)
            # Ray and Ray Tune have handlers of their own; the caller's are the ones that know what runs.
            _restore(handlers)
            resources = ray.cluster_resources()
            yield RaySession(
                folder=folder, cpus=resources.get("CPU", 0.0), gpus=resources.get("GPU", 0.0)
            )
        finally:
            try:
                ray.shutdown()
            finally:
                _restore(handlers)
                guard.communicate()


def _start(folder: Path) -> None:
    import ray
    from ray._private import ray_constants

    # What the variable says to processes that start now; this one may have imported Ray before.
    clusters, ray_constants.ENABLE_RAY_CLUSTER = ray_constants.ENABLE_RAY_CLUSTER, False
    try:
        ray.init(
            address="local",
            num_cpus=available_cores(),
            include_dashboard=False,
            object_store_memory=_OBJECT_STORE_BYTES,
            log_to_driver=False,
            configure_logging=False,
            _node_ip_address=_LOOPBACK,
            _temp_dir=str(folder),
        )
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = clusters
    address = ray.util.get_node_ip_address()
    if address != _LOOPBACK:
        raise TuningError(
            f"Ray {ray.__version__} listens on {address}, beyond this machine: install the version of the "
            "extra `tune`"
        )


def _connect(address: str) -> None:
    import ray

    host, _, port = address.rpartition(":")
    try:
        # Ray itself would try for minutes.
        socket.create_connection((host.strip("[]"), int(port)), timeout=_REACH_SECONDS).close()
        ray.init(address=address, log_to_driver=False, configure_logging=False)
    except (OSError, RuntimeError) as error:
        raise TuningError(f"no Ray cluster at {address} (tuning.ray_address): {error}") from None


@contextmanager
def _variables(*, alone: bool) -> Iterator[None]:
    """Environment variables that Ray reads, for as long as it runs."""
    wanted = {name: os.environ.get(name, value) for name, value in _QUIET.items()}
    if alone:
        wanted |= _ONE_MACHINE | {"RAY_AUTH_TOKEN": os.environ.get("RAY_AUTH_TOKEN", _TOKEN)}
    before = {name: os.environ.get(name) for name in (*wanted, _SET_BY_RAY)}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _handlers() -> dict[signal.Signals, Any]:
    """What handles the signals that Ray takes over; it does so in the main thread only."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    found = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)}
    # None is a handler that is not Python's, which cannot be put back.
    return {number: handler for number, handler in found.items() if handler is not None}


def _restore(handlers: dict[signal.Signals, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)


def _short_folder() -> str:
    folder = tempfile.gettempdir()
    longest = len(os.fsencode(folder)) + len(f"/{_PREFIX}12345678") + _BELOW
    if longest > _LONGEST_SOCKET:
        raise TuningError(
            f"the temporary folder {folder} is too deep for Ray's sockets, whose paths may have "
            f"{_LONGEST_SOCKET} characters: set TMPDIR to a shorter one, such as /tmp"
        )
    return folder
