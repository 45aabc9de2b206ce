"""The best settings of the published study, for whoever trains with them. How they are found is in `tuning`."""

from typing import Any

from pipeline_assets.lake import Version
from pipeline_assets.orchestration.stage import StageRun
from pipeline_assets.tuning.errors import TuningError

STUDY = "tuning_study"
BEST_FILE = "best.json"


def best_settings(run: StageRun) -> dict[str, Any]:
    """Setting to value, noted as an input of the run.

    The study may have been made from other data than the run reads: settings found on last month's rows are
    still settings, so only the study's own version is noted, not what it was made from.

    Raises:
        LakeError: no study is published.
        TuningError: the study was about another model.
    """
    use_case = run.use_case
    version = run.platform.dataset(use_case.name, STUDY).require(run.partition)
    best = version.read_json(BEST_FILE)
    if best["factory"] != use_case.model.factory:
        raise TuningError(
            f"the published study of {use_case.name} is about the model {best['factory']}, "
            f"model.factory is {use_case.model.factory}: materialise {STUDY} again, or set "
            "tuning.use_best to false"
        )
    _note(run, version)
    run.tell(f"settings of trial {best['trial']} of {STUDY}: {best['settings']}")
    return best["settings"]


def _note(run: StageRun, version: Version) -> None:
    run.inputs[STUDY] = version.data_version
    run.ancestors[STUDY] = {"data_version": version.data_version, "rows": version.rows}
