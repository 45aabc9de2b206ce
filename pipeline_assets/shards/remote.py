"""Reads parts of files on an object store, or any other place that fsspec knows.

What passes by itself is tried again, after growing pauses; what does not is one sentence. fsspec is
imported when the first remote file is read.
"""

import errno
import random
import time
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from pipeline_assets.shards.errors import DamagedShard, ShardError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

T = TypeVar("T")

ATTEMPTS = 6
"""Attempts for a read that fails for a reason that may pass."""
FIRST_PAUSE_SECONDS = 0.2
"""Pause after the first failure; each next one is twice as long, all are varied by half."""

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

    def read(self, file: str, start: int | None = None, end: int | None = None) -> bytes:
        """Return the bytes [start, end) of a file, all by default.

        Raises:
            ShardError: it is not there, cannot be read, or the file system's package is not installed.
        """
        path = self.path(file)
        return _persistently(
            lambda: bytes(self._fs.cat_file(self._fs._strip_protocol(path), start=start, end=end)),  # pyright: ignore[reportArgumentType]
            path,
        )

    @cached_property
    def _fs(self) -> "AbstractFileSystem":
        try:
            from fsspec.core import url_to_fs

            return url_to_fs(self.uri, **self.storage_options)[0]
        except ImportError as error:
            raise ShardError(
                f"shards at {self.uri} need a package that is not installed ({error}): install "
                "pipeline_assets with the extra s3, or fsspec with the file system of that URI"
            ) from None
        except ValueError as error:
            raise ShardError(f"there is no file system for shards at {self.uri}: {error}") from None


def _persistently(read: Callable[[], T], path: str) -> T:
    """Read, again after a pause where the reason of a failure may pass."""
    attempt = 0
    while True:
        attempt += 1
        try:
            return read()
        except ShardError:
            raise
        except Exception as error:
            if attempt == ATTEMPTS or not _may_pass(error):
                tried = f" after {attempt} attempts" if attempt > 1 else ""
                message = f"cannot read {path}{tried}: {_reason(error)}"
                # File systems quote parts of a URI that are no URI themselves.
                user, at, _ = path.partition("://")[2].partition("/")[0].rpartition("@")
                kind = DamagedShard if isinstance(error, FileNotFoundError) else ShardError
                raise kind(message.replace(user, "…") if at else message) from error
        pause = FIRST_PAUSE_SECONDS * 2 ** (attempt - 1)
        time.sleep(pause * random.uniform(0.5, 1.5))


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
