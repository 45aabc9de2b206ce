"""Reads parts of files on an object store, or any other place that fsspec knows.

What passes by itself is tried again, after growing pauses; what does not is one sentence. fsspec is
imported when the first remote file is read.
"""

import errno
import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from pipeline_assets.credentials import without_credentials
from pipeline_assets.shards.errors import DamagedShard, ShardError, ShardUnreachable

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

T = TypeVar("T")

PATIENCE_SECONDS = 6.0
"""Time from the first failure for which a read is tried again where the reason may pass."""
FIRST_PAUSE_SECONDS = 0.2
"""Pause after the first failure; each next one is twice as long, all are varied by half."""
SLOW_SECONDS = 10.0
"""Time without an answer after which the log says so."""
_LONGEST_PAUSE_SECONDS = 15.0
_WORTH_SAYING_SECONDS = 2.0
_SIGN_SECONDS = 1.0

# Errors of botocore and aiohttp that are no OSError, by name: neither package is imported here.
_PASSING = {
    "ClientConnectionError",
    "ClientPayloadError",
    "ConnectionError",
    "HTTPClientError",
    "IncompleteRead",
    "IncompleteReadError",
    "ResponseParserError",
}
_LASTING = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)
_LASTING_NUMBERS = {errno.EINVAL, errno.ENOSYS, errno.EPERM, getattr(errno, "EREMCHG", 78)}
_logger = logging.getLogger(__name__)


def is_remote(place: str) -> bool:
    """Whether this is the URI of something that is not on a local file system."""
    return "://" in place and not place.startswith("file://")


class RemoteFolder:
    """A folder at a URI.

    Args:
        uri: any URI that fsspec knows.
        storage_options: of the file system. Secrets come from the environment.
    """

    def __init__(self, uri: str, storage_options: dict[str, Any] | None = None) -> None:
        self.uri = uri.rstrip("/")
        self.storage_options = dict(storage_options or {})

    def path(self, file: str) -> str:
        """The URI of a file in this folder."""
        return f"{self.uri}/{file}"

    def read(
        self,
        file: str,
        start: int | None = None,
        end: int | None = None,
        *,
        patience: float | None = None,
        on_wait: Callable[[], None] = lambda: None,
    ) -> bytes:
        """Return the bytes [start, end) of a file, all by default.

        Args:
            file: relative to this folder.
            start: first byte.
            end: byte after the last.
            patience: seconds from the first failure for which it is tried again where the reason may
                pass; `PATIENCE_SECONDS` by default.
            on_wait: is called about once a second meanwhile.

        Raises:
            ShardUnreachable: it could not be read in that time, for a reason that may pass.
            ShardError: it is not there, cannot be read, or the file system's package is not installed.
        """
        path = self.path(file)
        return _persistently(
            lambda: bytes(self._fs.cat_file(self._fs._strip_protocol(path), start=start, end=end)),  # pyright: ignore[reportArgumentType]
            path,
            PATIENCE_SECONDS if patience is None else patience,
            on_wait,
        )

    @cached_property
    def _fs(self) -> "AbstractFileSystem":
        try:
            from fsspec.core import url_to_fs

            return url_to_fs(self.uri, **self.storage_options)[0]
        except ImportError as error:
            is_s3 = self.uri.startswith(("s3://", "s3a://"))
            raise ShardError(
                f"shards at {self.uri} need a package that is not installed on this machine: "
                + ("install pipeline_assets with the extra s3" if is_s3 else str(error))
            ) from None
        except ValueError as error:
            raise ShardError(f"there is no file system for shards at {self.uri}: {error}") from None


def _persistently(
    read: Callable[[], T], path: str, patience: float, on_wait: Callable[[], None]
) -> T:
    """Read, again after a pause where the reason of a failure may pass."""
    attempt, deadline, pause = 0, float("inf"), FIRST_PAUSE_SECONDS
    while True:
        attempt += 1
        try:
            with _noticed(path):
                return read()
        except ShardError:
            raise
        except Exception as error:
            passing = _may_pass(error)
            deadline = min(deadline, time.monotonic() + patience)
            waits = pause * random.uniform(0.5, 1.5)
            late = time.monotonic() + waits > deadline
            tried = f" after {attempt} attempts" if attempt > 1 else ""
            message = f"cannot read {path}{tried}: {_reason(error)}"
            # File systems quote parts of a URI that are no URI themselves.
            user, at, _ = path.partition("://")[2].partition("/")[0].rpartition("@")
            message = message.replace(user, "…") if at else message
            if late or not passing:
                kind = DamagedShard if isinstance(error, FileNotFoundError) else ShardError
                raise (ShardUnreachable if passing else kind)(message) from error
        if waits >= _WORTH_SAYING_SECONDS:
            left = deadline - time.monotonic()
            _logger.warning(
                "%s; trying again for up to %.0f seconds", without_credentials(message), left
            )
        _wait(waits, on_wait)
        pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)


@contextmanager
def _noticed(path: str) -> Iterator[None]:
    """Say so where a store takes long to answer: its client may be trying again by itself."""
    said = threading.Timer(
        SLOW_SECONDS,
        _logger.warning,
        ("no answer for %g seconds to %s; waiting", SLOW_SECONDS, without_credentials(path)),
    )
    said.daemon = True
    said.start()
    try:
        yield
    finally:
        said.cancel()


def _wait(seconds: float, on_wait: Callable[[], None]) -> None:
    """Sleep, in pieces, with a sign of life before each."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        on_wait()
        time.sleep(min(left, _SIGN_SECONDS))


def _may_pass(error: Exception) -> bool:
    if isinstance(error, OSError):
        return not isinstance(error, _LASTING) and error.errno not in _LASTING_NUMBERS
    return any(kind.__name__ in _PASSING for kind in type(error).__mro__)


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "it is not there; materialise tensor_shards again"
    text = " ".join(str(error).split())
    advice = "; check the credentials in the environment" if _is_refusal(error) else ""
    return f"{type(error).__name__}{f': {text}' if text else ''}{advice}"


def _is_refusal(error: Exception) -> bool:
    return isinstance(error, PermissionError) or "Credentials" in type(error).__name__
