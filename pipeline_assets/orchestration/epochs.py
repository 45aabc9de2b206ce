"""Metrics of epochs on their way to MLflow while the training processes work.

They are read from the file that the leading rank rewrites whole after each epoch, so a resumed training
brings those of before again: what the MLflow run has already is left out. MLflow cannot forget: an epoch is
sent when no reload throws it away any more, which is when its state is saved.
"""

import json
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

import dagster as dg

from pipeline_assets.orchestration.tracking import Tracking
from pipeline_assets.registry.store import RegistryError
from pipeline_assets.training.progress import TIMINGS

POLL_SECONDS = 1.0
_WITHOUT = {*TIMINGS, "best"}
"""Columns that are no metrics: times, which a resume does not repeat, and what later epochs change."""
_IN_EVERY_EPOCH = "train_loss"


class EpochMetrics:
    """Sends the metrics of each epoch to MLflow as it finishes, as a context manager around the training.

    A server that is lost meanwhile does not disturb the training: a warning, and the epochs are sent
    when it is back, at the latest when the training has ended.
    """

    def __init__(
        self,
        tracking: Tracking,
        file: Path,
        log: dg.DagsterLogManager,
        *,
        checkpoint_epochs: int = 1,
    ) -> None:
        """Begin with what the MLflow run has already.

        Args:
            tracking: where to.
            file: what the training writes: one JSON object per epoch and line; need not exist yet.
            log: for warnings.
            checkpoint_epochs: the training saves its state, and may go back to it, after so many epochs.

        Raises:
            RegistryError: MLflow does not answer.
        """
        self._tracking, self._file, self._log = tracking, file, log
        self._checkpoint_epochs = checkpoint_epochs
        self._sent = tracking.last_values(_IN_EVERY_EPOCH)
        """Epoch to its loss as MLflow has it."""
        self._warned = False
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="epoch metrics", daemon=True)

    def __enter__(self) -> "EpochMetrics":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Send the rest. Raises `RegistryError` where that fails, unless the training has its own error."""
        self._over.set()
        self._thread.join()
        if error is None:
            self._send(over=True)
        else:
            self._try_to_send()

    def _watch(self) -> None:
        while not self._over.wait(POLL_SECONDS):
            self._try_to_send()

    def _try_to_send(self) -> None:
        try:
            self._send()
        except RegistryError as error:
            if not self._warned:
                self._log.warning(f"the epochs' metrics are sent to MLflow later: {error}")
            self._warned = True

    def _send(self, *, over: bool = False) -> None:
        finished = self._finished()
        lasting = len(finished)
        if not over:
            lasting -= lasting % self._checkpoint_epochs
        rows = [
            row
            for row in finished[:lasting]
            # Resumed on other ranks, an epoch may be another one in its last digits.
            if self._sent.get(row["epoch"]) != row[_IN_EVERY_EPOCH]
        ]
        if rows:
            self._tracking.log_metrics(rows, step_key="epoch")
            self._sent |= {row["epoch"]: row[_IN_EVERY_EPOCH] for row in rows}

    def _finished(self) -> list[dict[str, Any]]:
        if not self._file.exists():
            return []
        lines = self._file.read_text(encoding="utf-8").splitlines()
        return [
            {name: value for name, value in json.loads(line).items() if name not in _WITHOUT}
            for line in lines
        ]
