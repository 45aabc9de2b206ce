"""What people see while training runs: a line per epoch, a bar in a terminal, the Dagster log."""

import json
import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any

from pipeline_assets.training.files import json_bytes, write_result
from pipeline_assets.training.pipes import PIPES_CONTEXT, pipes_log

HISTORY_FILE = "history.json"
METRICS_FILE = "metrics.jsonl"
TIMINGS = ("seconds", "rows_per_second", "checkpoint_share")


class Progress:
    """What one rank says and one rank (mostly the same) writes; on all others every method does nothing.

    Args:
        output: folder of the files.
        max_epochs: epochs at most.
        monitor: score that decides which epoch is the best.
        writes: whether this rank writes the files.
        says: whether this rank says how it goes; by default the one that writes.

    `metrics.jsonl` is rewritten whole after each epoch, timings included; `history.json`, at the end,
    leaves timings out, so that the same training gives the same bytes.
    """

    def __init__(
        self,
        output: Path,
        *,
        max_epochs: int,
        monitor: str,
        writes: bool,
        says: bool | None = None,
    ) -> None:
        self._output = output
        self._max_epochs = max_epochs
        self._monitor = monitor
        self._writes = writes
        self._says = writes if says is None else says
        self._bar: Any = None
        self._log: Callable[[str, str], None] | None = None
        self._stack = ExitStack()

    def __enter__(self) -> "Progress":
        if self._says and PIPES_CONTEXT in os.environ:
            self._log = self._stack.enter_context(pipes_log())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()
        self._stack.__exit__(kind, error, trace)

    @property
    def active(self) -> bool:
        """Whether somebody hears what is said."""
        return self._says

    def say(self, text: str) -> None:
        """One line, to the Dagster log where there is one (which shows it on the console as well)."""
        self._say(text, "INFO")

    def warn(self, text: str) -> None:
        """The same, of something that went wrong and did not end the training."""
        self._say(text, "WARNING")

    def _say(self, text: str, level: str) -> None:
        if not self._says:
            return
        if self._log is not None:
            self._log(text, level)
        else:
            sys.stdout.write(text + "\n")
            sys.stdout.flush()

    def start_epoch(self, epoch: int, rows: int, done: int) -> None:
        """Begin an epoch (from 1) of so many rows, or go on with it after some of them."""
        if self._bar is not None:
            self._bar.close()
        if self._says and sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(
                total=rows,
                initial=done,
                desc=f"epoch {epoch}/{self._max_epochs}",
                unit=" rows",
                leave=False,
            )

    def advance(self, rows: int) -> None:
        """So many more rows of the epoch are done, over all ranks."""
        if self._bar is not None:
            self._bar.update(rows)

    def end_epoch(self, history: list[dict[str, Any]]) -> None:
        """Report the last entry and write `metrics.jsonl`. Raises `TrainingError` where that fails."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        last = history[-1]
        mean_seconds = sum(entry["seconds"] for entry in history) / len(history)
        left = timedelta(seconds=round(mean_seconds * (self._max_epochs - last["epoch"])))
        self.say(
            f"epoch {last['epoch']}/{self._max_epochs}  loss {last['train_loss']:.5f}  "
            f"validation {self._monitor} {last[f'validation_{self._monitor}']:.5f}"
            f"{' (best)' if last['best'] else ''}  "
            f"{last['rows_per_second']:,.0f} rows/s  at most {left} left"
        )
        if self._writes:
            lines = "".join(json.dumps(entry, sort_keys=True) + "\n" for entry in history)
            write_result(self._output / METRICS_FILE, lines.encode())

    def finish(
        self,
        history: list[dict[str, Any]],
        reloads: list[dict[str, Any]],
        left_out: list[dict[str, Any]],
    ) -> None:
        """Write `history.json`: the epochs without timings, which of them is kept, what went wrong.

        Args:
            history: one entry per epoch.
            reloads: returns to an earlier state after losses that were not finite.
            left_out: damaged shards that took no part.
        """
        if not self._writes:
            return
        epochs = [{k: v for k, v in entry.items() if k not in TIMINGS} for entry in history]
        best = next(entry for entry in epochs if entry["best"])
        content = {
            "monitor": self._monitor,
            "best_epoch": best["epoch"],
            "best_score": best[f"validation_{self._monitor}"],
            "epochs": epochs,
            "reloads": reloads,
            "left_out_shards": left_out,
        }
        write_result(self._output / HISTORY_FILE, json_bytes(content))
