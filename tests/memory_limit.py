"""Processes whose memory and page cache together are limited by the kernel, where this user may ask for it."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")


@contextmanager
def memory_limit(limit: int) -> Iterator[Callable[[], None] | None]:
    """A control group of `limit` bytes, for `preexec_fn` of subprocesses; None where none can be made."""
    controller = _CGROUPS / "memory"
    file = "memory.limit_in_bytes"
    if not controller.is_dir():
        controller, file = _CGROUPS, "memory.max"
    group = controller / f"pipeline_assets_{os.getpid()}"
    try:
        group.mkdir()
    except OSError:
        yield None
        return
    try:
        try:
            (group / file).write_text(str(limit))
        except OSError:
            yield None
        else:
            yield lambda: _enter(group)
    finally:
        group.rmdir()


def _enter(group: Path) -> None:
    (group / "cgroup.procs").write_text(str(os.getpid()))
