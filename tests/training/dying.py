"""Trainings in processes of their own that are killed, or meet a full disk, while they write a checkpoint."""

import json
import multiprocessing
import os
import resource
import signal
import sys
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import torch

from pipeline_assets.training import checkpoint_writer
from pipeline_assets.training.checkpoint_writer import CheckpointWriter
from pipeline_assets.training.config import TrainingJob
from pipeline_assets.training.worker import main

_CONTEXT = multiprocessing.get_context("forkserver")
# The first optimiser imports it, for a second.
_CONTEXT.set_forkserver_preload(["torch._dynamo", "tests.training.dying"])


def _names(event: str, wanted: str, argument: object, start: str) -> bool:
    return (
        event == wanted
        and isinstance(argument, str | os.PathLike)
        and Path(os.fspath(argument)).name.startswith(start)
    )


MOMENTS: dict[str, Callable[[str, tuple[Any, ...]], bool]] = {
    "it begins": lambda event, a: _names(event, "os.mkdir", a[0], ".epoch"),
    "its tensors are written": lambda event, a: _names(event, "open", a[0], ".state.json"),
    "before it appears": lambda event, a: _names(event, "os.rename", a[0], ".epoch"),
    "before it is named": lambda event, a: _names(event, "os.rename", a[1], "current.json"),
    "before old ones go": lambda event, a: (
        _names(event, "shutil.rmtree", a[0], "epoch") and Path(a[0]).is_dir()
    ),
}
"""Audit events of the interpreter: they come before the system call."""


EVENTS = {"os.mkdir", "open", "os.rename", "shutil.rmtree"}


def start(job: TrainingJob, moment: str = "", what: str = "", after: int = 0) -> ForkServerProcess:
    """Train in another process, saving as often as it can; after every batch where it is to die.

    Args:
        job: one rank.
        moment: of `MOMENTS`, at which something happens; never by default.
        what: "kill": signal 9; "kill in tensors": the kernel ends it at their 100,000th byte; "full disk":
            no file grows beyond that.
        after: so many such moments pass before.
    """
    path = Path(job.output).with_name("job.json")
    path.write_text(json.dumps(job.to_dict()))
    process = _CONTEXT.Process(target=_train, args=(str(path), moment, what, after))
    process.start()
    return process


def _train(job_path: str, moment: str, what: str, after: int) -> None:
    torch.set_num_threads(1)
    checkpoint_writer.MOST_SHARE = 1e9
    left = after
    if what == "kill in tensors":
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # the interpreter ignores it

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        if event not in EVENTS or not MOMENTS[moment](event, arguments):
            return
        left -= 1
        if left != -1:
            return
        if what == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    if moment:
        submit = CheckpointWriter.submit

        def submit_and_wait(self, state, tensors) -> None:  # type: ignore[no-untyped-def]
            submit(self, state, tensors)
            self.wait()

        CheckpointWriter.submit = submit_and_wait
        sys.addaudithook(watch)
    sys.exit(main(job_path))
