"""Ray Tune's Optuna search, told of trials that failed without an exception, and of those ended early."""

from collections.abc import Collection
from typing import Any

from ray.tune.search.optuna import OptunaSearch

from pipeline_assets.tuning.trial import FAILED


class Search(OptunaSearch):
    """A trial that reports why it failed counts as failed, and has no score; one that was ended early as pruned.

    Ray Tune tells Optuna the last score of all trials alike, and so lets it look for settings that are good after
    the few epochs at which most trials end.

    Args:
        ended: ids of the trials that a scheduler ended early; grows.
        options: of Ray Tune's search.
    """

    def __init__(self, *, ended: Collection[str] = (), **options: Any) -> None:
        super().__init__(**options)
        self._ended = ended

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Tell Optuna the score of an epoch."""
        if FAILED not in result:
            super().on_trial_result(trial_id, result)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tell Optuna how a trial ended."""
        if result is not None and trial_id in self._ended:
            # Of an epoch after which a trial ends it has not heard.
            self.on_trial_result(trial_id, result)
            super().on_trial_complete(trial_id)
            return
        failed = result is not None and FAILED in result
        super().on_trial_complete(trial_id, None if failed else result, error or failed)
