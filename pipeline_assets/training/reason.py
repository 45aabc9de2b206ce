"""Why a training has failed: one sentence in a file of the output folder, which all nodes share."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from pipeline_assets.training.config import TrainingError, TrainingInterrupted
from pipeline_assets.training.files import write_atomically

ERROR_FILE = "error.txt"
"""Why a rank has failed, where running again would give the same."""
INTERRUPTION_FILE = "interruption.txt"
"""Why a rank has failed, where running again may help."""
DEATH_FILE = "death.txt"
"""How processes have ended that gave no reason; on another node training may have gone on."""
EARLIER = "PIPELINE_EARLIER_REASON"
"""Environment variable that tells the reason of an earlier training from one of this training."""

_KINDS = {
    ERROR_FILE: TrainingError,
    INTERRUPTION_FILE: TrainingInterrupted,
    DEATH_FILE: TrainingError,
}
"""What is read first counts."""


class Reason:
    """The files. A launcher that starts later must not remove what another node has just said.

    Args:
        output: the job's folder for the model.
        earlier: state of the files when this node's launcher began, which then count for nothing; by
            default as the launcher has put it into the environment.
    """

    def __init__(self, output: Path, earlier: Mapping[str, str] | None = None) -> None:
        self._output = output
        self._earlier = json.loads(os.environ.get(EARLIER, "{}")) if earlier is None else earlier

    @classmethod
    def at_start(cls, output: Path) -> "Reason":
        """Of a training that begins."""
        files = (ERROR_FILE, INTERRUPTION_FILE, DEATH_FILE)
        return cls(output, {name: _state(output / name) for name in files})

    def environment(self) -> dict[str, str]:
        """Variables for the processes of this training."""
        return {EARLIER: json.dumps(self._earlier)}

    def leave(self, text: str) -> None:
        """Say why. Ranks fail together, for the same reason: the first to say so is enough."""
        self._output.mkdir(parents=True, exist_ok=True)
        self._forget(ERROR_FILE)
        try:
            with (self._output / ERROR_FILE).open("x", encoding="utf-8") as file:
                file.write(text)
        except FileExistsError:
            return

    def leave_interruption(self, text: str) -> None:
        """Say why, where it may pass; the last to say so is the one that counts."""
        self._output.mkdir(parents=True, exist_ok=True)
        write_atomically(self._output / INTERRUPTION_FILE, text.encode())

    def leave_death(self, text: str) -> None:
        """Say how processes ended, in case that none gives a reason; does nothing where one has."""
        if self.read() is None:
            self._output.mkdir(parents=True, exist_ok=True)
            write_atomically(self._output / DEATH_FILE, text.encode())

    def read(self) -> TrainingError | None:
        """Return what a rank has said since this training began; None where none did."""
        for name, kind in _KINDS.items():
            state = _state(self._output / name)
            if state and state != self._earlier.get(name):
                return kind((self._output / name).read_text(encoding="utf-8"))
        return None

    def is_final(self) -> bool:
        """Whether a rank has said so, and running again would give the same."""
        state = _state(self._output / ERROR_FILE)
        return bool(state) and state != self._earlier.get(ERROR_FILE)

    def forget_earlier(self) -> None:
        """Remove what an earlier training has said."""
        for name in self._earlier:
            self._forget(name)

    def _forget(self, name: str) -> None:
        if _state(self._output / name) == self._earlier.get(name):
            (self._output / name).unlink(missing_ok=True)


def _state(path: Path) -> str:
    """Of a file: another one where it was written again; empty where there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return ""
    return f"{found.st_ino}-{found.st_mtime_ns}"
