"""Ray Tune's Optuna search, told of trials that failed without an exception."""

from typing import Any

from ray.tune.search.optuna import OptunaSearch

from pipeline_assets.tuning.trial import FAILED


class Search(OptunaSearch):
    """A trial that reports why it failed counts as failed, and has no score."""

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Tell Optuna the score of an epoch."""
        if FAILED not in result:
            super().on_trial_result(trial_id, result)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tell Optuna how a trial ended."""
        failed = result is not None and FAILED in result
        super().on_trial_complete(trial_id, None if failed else result, error or failed)
