"""The trace of a few steps by torch's profiler, for https://ui.perfetto.dev or chrome://tracing."""

import os
import warnings
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerAction, ProfilerActivity, profile, schedule

ACTIVE_STEPS = 5
"""Steps in a trace, after one that is passed over and one for warming up the profiler."""
_COLLECTIVES = ("gloo:", "nccl:")


class StepTrace:
    """Traces steps of an epoch into a gzipped file; a shorter epoch gives a shorter trace.

    Args:
        path: of the file, ending in `.json.gz`.
        epoch: from 1.
        batches: that are left in the epoch; at least one.
        device: of this rank.
    """

    def __init__(self, path: Path, epoch: int, batches: int, device: torch.device) -> None:
        self._path = path
        self.epoch = epoch
        wait, warmup = int(batches > 2), int(batches > 1)
        self.steps = min(ACTIVE_STEPS, batches - wait - warmup)
        # Its notes of starting and stopping would be the only lines on stderr of a training that goes well.
        os.environ.setdefault("KINETO_LOG_LEVEL", "6")
        activities = [ProfilerActivity.CPU]
        if device.type == "cuda":
            activities.append(ProfilerActivity.CUDA)
        with warnings.catch_warnings():
            # An epoch of one batch has no step to warm up in.
            warnings.filterwarnings("ignore", "Profiler won't be using warmup")
            plan = schedule(wait=wait, warmup=warmup, active=self.steps, repeat=1)
            self._profiler = profile(
                activities=activities, schedule=plan, on_trace_ready=self._export
            )
        self._collectives: list[dict[str, Any]] = []

    def start(self) -> None:
        """Before the first step."""
        self._profiler.start()

    def step(self) -> None:
        """A step is done. After the last traced one the file is written."""
        self._profiler.step()

    def stop(self) -> None:
        """Write nothing more."""
        self._profiler.on_trace_ready = None
        self._profiler.stop()

    def summary(self) -> dict[str, Any]:
        """Epoch, number of traced steps, and this rank's collectives in them: name, calls, seconds.

        Their seconds are from call to completion, whether or not computing hides them.
        """
        return {"epoch": self.epoch, "steps": self.steps, "collectives": self._collectives}

    @property
    def running(self) -> bool:
        """Whether the profiler slows down the next step."""
        return self._profiler.current_action != ProfilerAction.NONE

    def _export(self, profiler: profile) -> None:
        temporary = self._path.with_name(f".{self._path.name}")
        profiler.export_chrome_trace(str(temporary))
        temporary.rename(self._path)
        self._collectives = [
            {
                "name": event.key,
                "calls": event.count,
                # Those of a GPU return to the host at once.
                "seconds": max(event.cpu_time_total, event.device_time_total) / 1e6,
            }
            for event in profiler.key_averages()
            if event.key.startswith(_COLLECTIVES)
        ]
