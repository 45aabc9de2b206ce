"""What is known about a trial, and which of several is the best. How trials are run is in `study`."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from pipeline_assets.training.config import Monitor
from pipeline_assets.training.metrics import is_better

Outcome = Literal["running", "completed", "stopped", "failed"]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A trial, as far as it came."""

    number: int
    """From 1, in the order in which trials began."""
    settings: Mapping[str, Any]
    """Setting to value."""
    outcome: Outcome
    """`completed`: trained to its end; `stopped`: others did better after as many epochs; `failed`: an error;
    `running`: not over."""
    scores: tuple[float, ...] = ()
    """Validation score after each epoch."""
    message: str = ""
    """Why it failed."""
    began: float = 0.0
    """Seconds since the epoch of Unix time."""
    seconds: float = 0.0
    """Wall time so far."""

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Trial":
        """From `to_dict`, or its JSON form."""
        return cls(**{**data, "scores": tuple(data["scores"])})

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe form."""
        return asdict(self)

    @property
    def is_over(self) -> bool:
        """Whether nothing more comes of it."""
        return self.outcome != "running"

    @property
    def epochs(self) -> int:
        """Epochs trained."""
        return len(self.scores)

    def best_epoch(self, monitor: Monitor) -> int | None:
        """Epoch (from 1) of the best score, the first of equal ones; None where there is none."""
        best, at = None, None
        for epoch, score in enumerate(self.scores, start=1):
            if not math.isnan(score) and is_better(monitor, score, best):
                best, at = score, epoch
        return at

    def score(self, monitor: Monitor) -> float | None:
        """Best validation score of its epochs; None where there is none."""
        epoch = self.best_epoch(monitor)
        return None if epoch is None else self.scores[epoch - 1]

    def ending(self, monitor: Monitor, max_epochs: int) -> str:
        """Why it ended, for people.

        Args:
            monitor: name of the score.
            max_epochs: of a training.
        """
        if self.outcome == "stopped":
            return f"stopped by halving after epoch {self.epochs}"
        if self.outcome == "completed":
            if self.epochs >= max_epochs:
                return f"all {self.epochs} epochs"
            waited = self.epochs - (self.best_epoch(monitor) or 0)
            return f"{self.epochs} epochs, no better for {waited}"
        return f"{self.outcome}: {self.message}" if self.message else self.outcome


def ranked(trials: Iterable[Trial], monitor: Monitor) -> list[Trial]:
    """By score, the best first and the earlier of equal ones; last of all those that failed or have no score.

    Those that were stopped early count as well: the best epoch of a training is what a model is made of.
    """
    sign = 1.0 if is_better(monitor, 0.0, 1.0) else -1.0

    def place(trial: Trial) -> tuple[bool, float, int]:
        score = None if trial.outcome == "failed" else trial.score(monitor)
        return score is None, 0.0 if score is None else sign * score, trial.number

    return sorted(trials, key=place)


def best_trial(trials: Iterable[Trial], monitor: Monitor) -> Trial | None:
    """The first one as `ranked`; None where no trial has a score that counts."""
    first = next(iter(ranked(trials, monitor)), None)
    if first is None or first.outcome == "failed" or first.score(monitor) is None:
        return None
    return first
