"""What is noted while Ray Tune runs trials: each in the journal, and told to whoever listens."""

import time
from collections.abc import Callable
from typing import Any

from ray.tune import Callback, Stopper

from pipeline_assets.tuning.halving import Halving
from pipeline_assets.tuning.journal import Journal
from pipeline_assets.tuning.settings import decoded
from pipeline_assets.tuning.trial import FAILED, SCORE
from pipeline_assets.tuning.trials import Outcome, Trial

Listener = Callable[[Trial], None]


class Watch(Callback):
    """Ray Tune's events as trials of the journal.

    Ray Tune swallows what its callbacks raise; it is kept here, ends the study, and is raised after it.
    """

    def __init__(
        self,
        journal: Journal,
        *,
        choices: list[str],
        halving: Halving | None,
        listener: Listener,
    ) -> None:
        """Begin.

        Args:
            journal: of the study; trials that were interrupted keep their numbers.
            choices: parameters that are JSON texts.
            halving: the scheduler that ends trials early, if any.
            listener: is told each trial when it begins, after each epoch, and when it is over.
        """
        self.error: BaseException | None = None
        """What went wrong here or in the listener, the first of it."""
        self.began: float | None = None
        """When the first trial began, in seconds of the monotonic clock."""
        self._journal = journal
        self._choices = choices
        self._halving = halving
        self._listener = listener
        self._interrupted = dict(journal.interrupted)
        self._numbers: dict[str, int] = {}
        self._running: dict[str, _Running] = {}

    def __getstate__(self) -> dict[str, Any]:
        # Ray Tune stores its callbacks in snapshots, which are never read here.
        return {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Number the trial; one whose process died begins again from nothing."""
        for proposed in trials:
            if proposed.trial_id not in self._numbers:
                self._numbers[proposed.trial_id] = self._number(proposed)
        settings, number = self._settings(trial), self._numbers[trial.trial_id]
        self.began = self.began or time.monotonic()
        running = self._running[trial.trial_id] = _Running(number, settings)
        self._do(lambda: self._journal.begin(number, settings))
        self._do(lambda: self._listener(running.trial("running")))

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Keep the epoch's score, or why there is none."""
        running = self._running[trial.trial_id]
        if FAILED in result:
            running.message = result[FAILED]
        else:
            running.scores.append(float(result[SCORE]))
            self._do(lambda: self._listener(running.trial("running")))

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """The trial ended by itself or by the scheduler; not called for those that time cut off."""
        running = self._running[trial.trial_id]
        stopped = self._halving is not None and trial.trial_id in self._halving.ended
        outcome: Outcome = "stopped" if stopped else "completed"
        self._end(trial, "failed" if running.message else outcome)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """The trial failed in a way of its own, or its process died for the last time."""
        if trial.trial_id not in self._running:
            # Between two trials of one process.
            self.on_trial_start(iteration, trials, trial)
        lines = str(trial.get_error() or "its process died").strip().splitlines()
        self._running[trial.trial_id].message = lines[-1]
        self._end(trial, "failed")

    def _settings(self, trial: Any) -> dict[str, Any]:
        return decoded(trial.config, self._choices)

    def _number(self, trial: Any) -> int:
        """In the order of proposals; processes that start at the same time begin in any order."""
        settings = self._settings(trial)
        for number, of in self._interrupted.items():
            if of == settings:
                del self._interrupted[number]
                return number
        return max([*self._journal.begun, *self._numbers.values()], default=0) + 1

    def _end(self, trial: Any, outcome: Outcome) -> None:
        over = self._running[trial.trial_id].trial(outcome)
        self._do(lambda: self._journal.end(over))
        self._do(lambda: self._listener(over))

    def _do(self, action: Callable[[], None]) -> None:
        if self.error is not None:
            return
        try:
            action()
        except Exception as error:  # noqa: BLE001
            self.error = error


class _Running:
    def __init__(self, number: int, settings: dict[str, Any]) -> None:
        self.number, self.settings = number, settings
        self.scores: list[float] = []
        self.message = ""
        self.began = time.time()

    def trial(self, outcome: Outcome) -> Trial:
        return Trial(
            number=self.number,
            settings=self.settings,
            outcome=outcome,
            scores=tuple(self.scores),
            message=self.message,
            began=self.began,
            seconds=time.time() - self.began,
        )


class StudyEnd(Stopper):
    """Ends a study before its last trial: when its time is over, or when it cannot be noted any more."""

    def __init__(self, watch: Watch, seconds: float | None) -> None:
        self._watch, self._seconds = watch, seconds

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Whether this trial ends; never by itself."""
        return False

    def stop_all(self) -> bool:
        """Whether all trials end now."""
        return self._watch.error is not None or self.time_is_over

    @property
    def time_is_over(self) -> bool:
        """Whether the time limit is reached; starting Ray does not count."""
        began = self._watch.began
        if self._seconds is None or began is None:
            return False
        return time.monotonic() >= began + self._seconds
