"""The best settings of the published study, for whoever trains with them. How they are found is in `tuning`."""

from collections.abc import Mapping
from typing import Any

from pipeline_assets.lake import Version
from pipeline_assets.orchestration.stage import StageRun
from pipeline_assets.spec import UseCase
from pipeline_assets.tuning.errors import TuningError

STUDY = "tuning_study"
BEST_FILE = "best.json"


def best_settings(run: StageRun) -> dict[str, Any]:
    """Setting to value, noted as an input of the run.

    The study may have been made from other data than the run reads: settings found on last month's rows are
    still settings, so only the study's own version is noted, not what it was made from.

    Raises:
        LakeError: no study is published.
        TuningError: the study was about another model or score, or its settings are not in `tuning.space`.
    """
    use_case = run.use_case
    version = run.platform.dataset(use_case.name, STUDY).require(run.partition)
    best = version.read_json(BEST_FILE)
    mismatch = _mismatch(use_case, best)
    if mismatch is not None:
        raise TuningError(
            f"the published study of {use_case.name} {mismatch}: materialise {STUDY} again, or set "
            "tuning.use_best to false"
        )
    _note(run, version)
    run.tell(f"settings of trial {best['trial']} of {STUDY}: {best['settings']}")
    return best["settings"]


def _mismatch(use_case: UseCase, best: Mapping[str, Any]) -> str | None:
    """In what the study is not the one that is declared now; None where it is."""
    factory, monitor = use_case.model.factory, use_case.training.monitor
    if best["factory"] != factory:
        return f"is about the model {best['factory']}, model.factory is {factory}"
    if best["monitor"] != monitor:
        return f"was judged by {best['monitor']}, training.monitor is {monitor}"
    space = {} if use_case.tuning is None else use_case.tuning.space
    for name, value in best["settings"].items():
        if name not in space:
            return f"has the setting {name}, which is not in tuning.space"
        if not space[name].holds(value):
            return f"has {name} {value!r}, which is not in tuning.space.{name}"
    return None


def _note(run: StageRun, version: Version) -> None:
    run.inputs[STUDY] = version.data_version
    run.ancestors[STUDY] = {"data_version": version.data_version, "rows": version.rows}
