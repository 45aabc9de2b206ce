"""One training at a time for a folder of checkpoints."""

import fcntl
import json
import os
import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from pipeline_assets.training.config import TrainingError
from pipeline_assets.training.files import json_bytes

LOCK = "lock.json"
WAIT_SECONDS = 100.0
"""For ranks that were killed and are not gone yet. An NFS server keeps the locks of a machine that was
cut off for 90 seconds, on Linux."""
_LOOK_SECONDS = 0.2


class CheckpointLock:
    """Holds a folder of checkpoints; a context manager of the leading rank around the whole training.

    A lock of the kernel (`flock`) on a file: free at once when its process dies, however that happens.
    On NFS it is the server's, so that it holds between machines. The file says who has it, and stays.

    Args:
        folder: of the checkpoints; made where it is missing.
        say: told once where somebody else has the lock.
        on_wait: called while waiting for it.
    """

    def __init__(
        self, folder: Path, say: Callable[[str], None], on_wait: Callable[[], None]
    ) -> None:
        self._path = folder / LOCK
        self._say = say
        self._on_wait = on_wait
        self._handle = -1

    def __enter__(self) -> "CheckpointLock":
        """Take the lock, after a while where somebody else has it.

        Raises:
            TrainingError: another training goes on, or the file system has no locks.
        """
        deadline = time.monotonic() + WAIT_SECONDS
        said = False
        while not self._taken():
            if time.monotonic() > deadline:
                raise TrainingError(
                    f"another training has the checkpoints in {self._path.parent}: {self._holder()}. Let it "
                    "finish or end it, and run again: training goes on from its last checkpoint"
                )
            if not said:
                self._say(f"waiting for the checkpoints in {self._path.parent}: {self._holder()}")
                said = True
            self._on_wait()
            time.sleep(_LOOK_SECONDS)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._handle)

    def _taken(self) -> bool:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Who had it may have removed the folder since it was opened.
            is_there = os.path.samestat(os.fstat(handle), self._path.stat())
        except (BlockingIOError, FileNotFoundError):
            is_there = False
        except OSError as error:
            os.close(handle)
            raise TrainingError(
                f"the checkpoints in {self._path.parent} cannot be locked ({error.strerror}), and two "
                "trainings there would remove each other's: mount the file system with locks (Lustre: "
                "-o flock), or put the home on another one"
            ) from error
        if not is_there:
            os.close(handle)
            return False
        now = datetime.now(UTC).isoformat(timespec="seconds")
        note = json_bytes({"host": socket.gethostname(), "pid": os.getpid(), "since": now})
        os.pwrite(handle, note, 0)
        os.truncate(handle, len(note))
        self._handle = handle
        return True

    def _holder(self) -> str:
        try:
            held = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return "its process has not said yet who it is"
        return f"process {held['pid']} on {held['host']} trains there since {held['since']}"
