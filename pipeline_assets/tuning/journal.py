"""Trials of a study on disk, one line each, so that a study that was killed continues.

Ray Tune's own way to restore an experiment reads pickles and begins trials anew that were finished after its
last snapshot; these lines are plain JSON and each is on disk before the next trial begins.
"""

import fcntl
import json
import os
import secrets
import socket
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from pipeline_assets.tuning.errors import TuningError
from pipeline_assets.tuning.trials import Trial

_FILE, _LOCK = "trials.jsonl", "lock"


class Journal:
    """The lines of one study, for one process at a time: `with Journal(folder) as journal`."""

    def __init__(self, folder: Path) -> None:
        """Lock the study and read what is there; a last line that was cut off by a crash is dropped.

        Args:
            folder: of the study; created.

        Raises:
            TuningError: another process has the study, or a line is damaged.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        """Of the study; nothing else is in it but what its trials leave there meanwhile."""
        self._path = folder / _FILE
        # The kernel gives the lock back when this process ends, however it ends.
        self._lock = (folder / _LOCK).open("a+", encoding="utf-8")
        try:
            self._take_lock()
            self._read()
        except BaseException:
            self.close()
            raise
        if not self.id:
            self._append({"journal": secrets.token_hex(8)})

    def _take_lock(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.seek(0)
            raise TuningError(
                f"the study in {self.folder} is being done by {self._lock.read() or 'another process'}: "
                "wait until it is over, or end that one"
            ) from None
        self._lock.truncate(0)
        self._lock.write(f"process {os.getpid()} on {socket.gethostname()}")
        self._lock.flush()

    def _read(self) -> None:
        self.finished: list[Trial] = []
        """Trials that are over, in the order in which they ended."""
        self.begun: dict[int, dict[str, Any]] = {}
        """Number to settings of all trials that began."""
        self.id = ""
        """Of this journal: a study that is done anew has the same folder and another journal."""
        self.published = 0
        """Trials that were over when the study was published last; 0 where it was not."""
        whole = 0
        content = self._path.read_bytes() if self._path.exists() else b""
        for number, line in enumerate(content.split(b"\n")[:-1], start=1):
            try:
                self._take(json.loads(line))
            except (ValueError, KeyError, TypeError) as error:
                raise TuningError(
                    f"{self._path}:{number}: the line is damaged ({error!r}): remove it, and its trial is "
                    "done again, or remove the folder, and the study begins anew"
                ) from None
            whole += len(line) + 1
        with self._path.open("ab") as file:
            file.truncate(whole)

    def close(self) -> None:
        """Give the study back."""
        self._lock.close()

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def interrupted(self) -> dict[int, dict[str, Any]]:
        """Number to settings of the trials that began and did not end."""
        over = {trial.number for trial in self.finished}
        return {number: of for number, of in self.begun.items() if number not in over}

    def begin(self, number: int, settings: Mapping[str, Any]) -> None:
        """Note that a trial begins."""
        self._append({"begun": number, "settings": dict(settings)})

    def end(self, trial: Trial) -> None:
        """Note that a trial is over."""
        self._append({"ended": trial.to_dict()})

    def publish(self) -> None:
        """Note that what is over has been published."""
        self._append({"published": len(self.finished)})

    def start_anew(self) -> None:
        """Forget all trials."""
        self._path.unlink()
        self._read()
        self._append({"journal": secrets.token_hex(8)})

    def _append(self, entry: dict[str, Any]) -> None:
        with self._path.open("ab") as file:
            file.write((json.dumps(entry, sort_keys=True) + "\n").encode())
            file.flush()
            os.fsync(file.fileno())
        self._take(entry)

    def _take(self, entry: Mapping[str, Any]) -> None:
        if "journal" in entry:
            self.id = entry["journal"]
        elif "published" in entry:
            self.published = entry["published"]
        elif "begun" in entry:
            self.begun[entry["begun"]] = dict(entry["settings"])
        else:
            self.finished.append(Trial.from_dict(entry["ended"]))
