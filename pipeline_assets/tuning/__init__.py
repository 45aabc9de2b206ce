"""Tuning: the search for better settings of a model, in trials that train it in short.

Needs the extra `tune`; `settings` and `trials`, which read a study's result, do not. Import what is needed
from the modules; this package file stays free of Ray and Optuna.

    settings     settings by dotted name, in a training job and back
    trials       what is known about a trial, and the best of several
    journal      finished trials on disk: an interrupted study continues from it
    space        the search space as Optuna's distributions
    trial        one trial, in a Ray worker
    ray_session  Ray in this process, or a cluster
    search       Optuna, as Ray Tune asks it
    halving      successive halving, with its memory of trials of an interrupted study
    watching     notes what Ray Tune does
    checking     what would make every trial fail
    study        all trials, with Ray Tune
    importance   how much each setting mattered
    plots        parallel coordinates and importances
"""
