"""Ends what a session of Ray leaves behind, however it ended: `python -m pipeline_assets.tuning.guard FOLDER`.

The kernel kills Ray's two main processes with the one that started them, and workers follow. Ray's agents do
not when all are killed at once: they wait for minutes for a server that is gone. This process has a session of
its own and reads from a pipe; when the other end is closed, or its process is gone, it kills those that have
files open in the session's folder, and removes the folder.
"""

import os
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil

_SECONDS = 10.0


def start_guard(folder: Path) -> subprocess.Popen[bytes]:
    """Start the guard of a folder for temporary files; closing its `stdin` makes it act."""
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline_assets.tuning.guard", str(folder)],
        stdin=subprocess.PIPE,
        start_new_session=True,
    )


def main(folder: Path) -> int:
    """Wait, then clean up; 1 where a process could not be ended."""
    starter = os.getppid()
    sys.stdin.buffer.read()
    deadline = time.monotonic() + _SECONDS
    while (left := _using(folder, starter)) and time.monotonic() < deadline:
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        time.sleep(0.1)
    shutil.rmtree(folder, ignore_errors=True)
    return 1 if left else 0


def _using(folder: Path, starter: int) -> list[psutil.Process]:
    """Processes with a file open below the folder, but not the one that the session is of."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.pid != starter and any(
                folder in Path(file.path).parents for file in process.open_files()
            ):
                found.append(process)
    return found


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
