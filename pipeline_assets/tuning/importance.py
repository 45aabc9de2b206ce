"""How much each setting mattered in a study."""

import logging
from collections.abc import Sequence

from pipeline_assets.training.config import Monitor
from pipeline_assets.training.metrics import is_better
from pipeline_assets.tuning.space import Space, distributions, encoded
from pipeline_assets.tuning.trials import Trial

FEWEST = 4
"""Trials with a score below which nothing can be said."""


def importances(trials: Sequence[Trial], space: Space, monitor: Monitor) -> dict[str, float]:
    """Setting to its share, which sum up to 1, the largest first; empty where there is too little to tell.

    By PED-ANOVA: how differently the best trials are spread over a setting's values than all trials are. Scores
    of trials that were stopped early count as they are.
    """
    import optuna

    logging.getLogger("optuna").setLevel(logging.ERROR)
    known = distributions(space)
    study = optuna.create_study(
        direction="minimize" if is_better(monitor, 0.0, 1.0) else "maximize"
    )
    scores = set()
    for trial in trials:
        score, point = trial.score(monitor), encoded(space, trial.settings)
        if score is not None and point is not None and trial.outcome != "failed":
            scores.add(score)
            study.add_trial(
                optuna.trial.create_trial(value=score, params=point, distributions=known)
            )
    if len(study.trials) < FEWEST or len(scores) < 2:
        return {}
    found = optuna.importance.get_param_importances(study)
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))
