"""Trials of a study on disk, one line each, so that a study that was killed continues.

Ray Tune's own way to restore an experiment reads pickles and begins trials anew that were finished after its
last snapshot; these lines are plain JSON and each is on disk before the next trial begins.
"""

import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline_assets.tuning.trials import Trial

_FILE = "trials.jsonl"


class Journal:
    """The lines of one study. One process writes at a time."""

    def __init__(self, folder: Path) -> None:
        """Read what is there; a last line that was cut off by a crash is dropped.

        Args:
            folder: of the study; created.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / _FILE
        self.finished: list[Trial] = []
        """Trials that are over, in the order in which they ended."""
        self.begun: dict[int, dict[str, Any]] = {}
        """Number to settings of all trials that began."""
        self.id = ""
        """Of this journal: a study that is done anew has the same folder and another journal."""
        whole = 0
        content = self._path.read_bytes() if self._path.exists() else b""
        for line in content.splitlines(keepends=True):
            if not line.endswith(b"\n"):
                break
            self._take(json.loads(line))
            whole += len(line)
        with self._path.open("ab") as file:
            file.truncate(whole)
        if not self.id:
            self._append({"journal": secrets.token_hex(8)})

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

    def _append(self, entry: dict[str, Any]) -> None:
        with self._path.open("ab") as file:
            file.write((json.dumps(entry, sort_keys=True) + "\n").encode())
            file.flush()
            os.fsync(file.fileno())
        self._take(entry)

    def _take(self, entry: Mapping[str, Any]) -> None:
        if "journal" in entry:
            self.id = entry["journal"]
        elif "begun" in entry:
            self.begun[entry["begun"]] = dict(entry["settings"])
        else:
            self.finished.append(Trial.from_dict(entry["ended"]))
