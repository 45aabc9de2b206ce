"""Folders for temporary files whose owner may be killed: the next one to make such a folder removes them."""

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

_NAME = re.compile(r"pipeline_assets_\w+\.(\d+)\.(\d+)\.(\d+)\.\w+")


def make_temporary_folder(what: str) -> Path:
    """Make a folder that only this user can read, named after its owner, this process.

    Args:
        what: what it is for; letters, digits and underscores.
    """
    _remove_abandoned(Path(tempfile.gettempdir()))
    pid = os.getpid()
    owner = f"{_processes_of()}.{pid}.{_started(pid)}"
    return Path(tempfile.mkdtemp(prefix=f"pipeline_assets_{what}.{owner}."))


@contextmanager
def temporary_folder(what: str) -> Iterator[Path]:
    """`make_temporary_folder`, removed at the end."""
    folder = make_temporary_folder(what)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_abandoned(parent: Path) -> None:
    """Remove the folders of this user's processes that are gone."""
    for folder in parent.glob("pipeline_assets_*"):
        found = _NAME.fullmatch(folder.name)
        if found is None:
            continue
        processes, pid, started = (int(part) for part in found.groups())
        if processes == _processes_of() and _started(pid) != started and _is_mine(folder):
            shutil.rmtree(folder, ignore_errors=True)


def _is_mine(folder: Path) -> bool:
    try:
        return folder.stat(follow_symlinks=False).st_uid == os.getuid()
    except FileNotFoundError:
        return False


def _processes_of() -> int:
    """The set of processes that this one sees: containers that share a folder have the same ids."""
    return Path("/proc/self/ns/pid").stat().st_ino if sys.platform == "linux" else 0


def _started(pid: int) -> int | None:
    """When a process began, which tells it from a later one with its id; None where it is gone."""
    if sys.platform != "linux":
        return int(psutil.Process(pid).create_time()) if psutil.pid_exists(pid) else None
    try:
        # In ticks since the system began: what psutil says moves with the clock.
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(text.rpartition(")")[2].split()[19])
