"""Asynchronous successive halving that remembers: which trials it ended, and those of before an interruption."""

from types import SimpleNamespace
from typing import Any

from ray.tune.schedulers import ASHAScheduler, TrialScheduler

from pipeline_assets.tuning.trial import BEST
from pipeline_assets.tuning.trials import Trial

_EPOCH = "training_iteration"


class Halving(ASHAScheduler):
    """Ray Tune's scheduler, by epochs, on the best validation score so far."""

    def __init__(self, *, mode: str, max_epochs: int, grace_epochs: int, factor: float) -> None:
        super().__init__(
            time_attr=_EPOCH,
            metric=BEST,
            mode=mode,
            max_t=max_epochs,
            grace_period=grace_epochs,
            reduction_factor=factor,
        )
        self.ended: set[str] = set()
        """Ids of the trials that it ended before their last epoch."""
        self._max_epochs = max_epochs

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Whether the trial goes on."""
        action = super().on_trial_result(tune_controller, trial, result)
        if action == TrialScheduler.STOP and result[_EPOCH] < self._max_epochs:
            self.ended.add(trial.trial_id)
        return action

    def remember(self, trial: Trial, best_scores: list[float]) -> None:
        """Judge later trials also by one that was finished before the study was interrupted.

        Args:
            trial: the trial.
            best_scores: after each epoch, the best so far.
        """
        past: Any = SimpleNamespace(trial_id=f"past-{trial.number}")
        self.on_trial_add(None, past)  # pyright: ignore[reportArgumentType]
        for epoch, score in enumerate(best_scores, start=1):
            super().on_trial_result(None, past, {_EPOCH: epoch, BEST: score})  # pyright: ignore[reportArgumentType]
