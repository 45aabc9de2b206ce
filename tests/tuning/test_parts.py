"""Parts of a study without Ray's processes: journal, settings, space, halving, importances, pictures, the extra."""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from optuna.samplers import RandomSampler

from pipeline_assets.spec import Tuning
from pipeline_assets.spec.factory_options import default_options
from pipeline_assets.training.config import TrainingJob
from pipeline_assets.tuning.errors import TuningError
from pipeline_assets.tuning.extra import require_extra
from pipeline_assets.tuning.halving import Halving
from pipeline_assets.tuning.importance import importances
from pipeline_assets.tuning.journal import Journal
from pipeline_assets.tuning.plots import importance_bars, parallel_coordinates, score_limits
from pipeline_assets.tuning.search import Search
from pipeline_assets.tuning.settings import declared_settings, decoded, with_settings
from pipeline_assets.tuning.space import choices, distributions, encoded
from pipeline_assets.tuning.trial import BEST, FAILED
from pipeline_assets.tuning.trials import Trial, best_trial, ranked
from tests.tuning.conftest import SPACE

RATE, HIDDEN = "training.learning_rate", "model.options.hidden"


def trial(number: int, rate: float = 0.01, **facts: Any) -> Trial:
    made: dict[str, Any] = {"outcome": "completed", "scores": (0.6, 0.8, 0.7)}
    return Trial(number=number, settings={RATE: rate, HIDDEN: [8]}, **{**made, **facts})


def read(folder: Path) -> Journal:
    with Journal(folder) as journal:
        return journal


def test_a_journal_survives_a_crash_in_the_middle_of_a_line(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        for number in (1, 2, 3):
            journal.begin(number, {RATE: number / 10, HIDDEN: [8]})
        journal.end(trial(2, 0.2))
        journal.end(trial(1, 0.1))
    file = tmp_path / "trials.jsonl"
    file.write_bytes(file.read_bytes() + b'{"ended": {"num')
    read(tmp_path)
    with Journal(tmp_path) as again:
        assert [found.number for found in again.finished] == [2, 1]
        assert again.finished[0] == trial(2, 0.2)
        assert again.interrupted == {3: {RATE: 0.3, HIDDEN: [8]}}
        assert list(again.begun) == [1, 2, 3]
        again.end(trial(3, 0.3))
    assert read(tmp_path).interrupted == {}
    assert again.id == journal.id != read(tmp_path / "anew").id
    assert all(json.loads(line) for line in file.read_text().splitlines())


def test_a_journal_knows_what_was_published_and_can_be_started_anew(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.begin(1, {RATE: 0.1, HIDDEN: [8]})
        journal.end(trial(1, 0.1))
        assert journal.published == 0
        journal.publish()
    with Journal(tmp_path) as again:
        assert again.published == 1 and again.finished == [trial(1, 0.1)]
        again.start_anew()
        assert (again.published, again.finished, again.begun) == (0, [], {})
        assert again.id and again.id != journal.id
    assert read(tmp_path).id == again.id


@pytest.mark.parametrize(
    ("facts", "ending"),
    [
        ({"outcome": "stopped"}, "stopped by halving after epoch 3"),
        ({"scores": (0.6, 0.8, 0.7, 0.7)}, "4 epochs, no better for 2"),
        ({"scores": (0.6,) * 25}, "all 25 epochs"),
        ({"outcome": "failed", "message": "loss is NaN"}, "failed: loss is NaN"),
    ],
)
def test_a_trial_tells_why_it_ended(facts: dict[str, Any], ending: str) -> None:
    assert trial(1, **facts).ending("roc_auc", 25) == ending


@pytest.mark.parametrize("damage", [b'{"ended": {"num', b"\0\0\0", b'{"ended": {}}', b"[]", b""])
def test_a_damaged_line_of_a_journal_is_named(tmp_path: Path, damage: bytes) -> None:
    with Journal(tmp_path) as journal:
        journal.begin(1, {RATE: 0.1, HIDDEN: [8]})
        journal.end(trial(1, 0.1))
    file = tmp_path / "trials.jsonl"
    lines = file.read_bytes().splitlines()
    file.write_bytes(b"\n".join([*lines[:2], damage, lines[2], b""]))
    with pytest.raises(TuningError, match=r"trials.jsonl:3: the line is damaged .*: remove it"):
        read(tmp_path)
    # And the study is free for whoever has mended it.
    file.write_bytes(b"\n".join([*lines, b""]))
    assert read(tmp_path).finished == [trial(1, 0.1)]


def test_two_studies_do_not_share_a_journal(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from pipeline_assets.tuning.journal import Journal\n"
        "with Journal(Path(sys.argv[1])): print('there', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert other.stdout is not None and other.stdout.readline() == b"there\n"
        with pytest.raises(TuningError, match=rf"is being done by process {other.pid} on "):
            read(tmp_path)
    finally:
        other.kill()
        other.communicate()
    assert read(tmp_path).id


def test_settings_take_the_place_of_declared_ones(job: TrainingJob) -> None:
    changed = with_settings(job, {RATE: 0.1, "model.options.dropout": 0.3})
    assert changed.training.learning_rate == 0.1
    assert changed.model.options == {"hidden": [4], "dropout": 0.3}
    assert (job.training.learning_rate, job.model.options) == (5e-3, {"hidden": [4]})
    assert declared_settings(changed, [RATE, HIDDEN], {}) == {RATE: 0.1, HIDDEN: [4]}
    assert declared_settings(job, ["model.options.dropout"], {}) == {}
    with pytest.raises(ValueError, match="'features' is no setting"):
        with_settings(job, {"features": 1})


def test_options_that_the_yaml_leaves_out_have_the_defaults_of_the_factory(
    job: TrainingJob,
) -> None:
    mlp, tabm = (
        default_options(f"pipeline_assets.training.models.{name}:build") for name in ("mlp", "tabm")
    )
    assert (mlp["hidden"], mlp["dropout"]) == ([128, 64], 0.1)
    assert tabm["numeric_embedding"] == "piecewise_linear"
    names = [RATE, HIDDEN, "model.options.dropout", "model.options.unknown"]
    declared = declared_settings(job, names, mlp)
    assert declared == {RATE: 5e-3, HIDDEN: [4], "model.options.dropout": 0.1}
    assert default_options("tests.training.factories:with_torch_dropout") == {}


def test_settings_come_back_from_optuna_as_they_were(tuning: Callable[..., Tuning]) -> None:
    space = tuning().space
    for settings in ({RATE: 0.05, HIDDEN: [8, 4]}, {RATE: 1e-4, HIDDEN: [4]}):
        point = encoded(space, settings)
        assert point is not None
        assert decoded(point, choices(space)) == settings
        for name, distribution in distributions(space).items():
            assert distribution._contains(distribution.to_internal_repr(point[name]))
    assert encoded(space, {RATE: 0.5, HIDDEN: [4]}) is None
    assert encoded(space, {RATE: 0.05, HIDDEN: [5]}) is None
    assert encoded(space, {RATE: 0.05}) is None


def test_the_best_is_the_earliest_of_equals_and_never_a_failed_one() -> None:
    trials = [
        trial(3, scores=(0.9,), outcome="stopped"),
        trial(2, scores=(0.9, 0.8)),
        trial(1, scores=(0.99,), outcome="failed", message="died"),
        trial(4, scores=(float("nan"),)),
        trial(5, scores=()),
    ]
    best = best_trial(trials, "roc_auc")
    assert best is not None and best.number == 2 and best.best_epoch("roc_auc") == 1
    assert [trial.number for trial in ranked(trials, "roc_auc")] == [2, 3, 1, 4, 5]
    assert [trial.number for trial in ranked(trials, "log_loss")] == [2, 3, 1, 4, 5]
    worst = best_trial(trials, "log_loss")
    assert worst is not None and worst.number == 2 and worst.score("log_loss") == 0.8
    assert best_trial(trials[2:3], "roc_auc") is None


@pytest.mark.parametrize(("mode", "sign"), [("max", 1), ("min", -1)])
def test_halving_judges_by_the_trials_of_before_an_interruption(mode: str, sign: int) -> None:
    def stopped(*, remembers: bool) -> set[str]:
        halving = Halving(mode=mode, max_epochs=9, grace_epochs=1, factor=3)
        if remembers:
            for number in range(1, 7):
                halving.remember(trial(number), [sign * 0.7, sign * 0.8])
        new: Any = SimpleNamespace(trial_id="new")
        halving.on_trial_add(None, new)  # pyright: ignore[reportArgumentType]
        halving.on_trial_result(None, new, {"training_iteration": 1, "best": sign * 0.6})
        return halving.ended

    assert stopped(remembers=True) == {"new"}
    assert stopped(remembers=False) == set()


def test_optuna_hears_which_trials_were_ended_early(tuning: Callable[..., Tuning]) -> None:
    heard: dict[int, tuple[str, dict[int, float]]] = {}

    class Sampler(RandomSampler):
        def after_trial(self, study: Any, trial: Any, state: Any, values: Any) -> None:
            heard[trial.number] = state.name, trial.intermediate_values

    ended = {"b"}
    space: Any = distributions(tuning().space)
    search = Search(space=space, metric=BEST, mode="max", sampler=Sampler(), ended=ended)
    for name in ("a", "b", "c"):
        search.suggest(name)
        search.on_trial_result(name, {"training_iteration": 1, BEST: 0.6})
    search.on_trial_complete("a", {"training_iteration": 2, BEST: 0.7})
    # Ray tells what comes after its scheduler's decision only at the end.
    search.on_trial_complete("b", {"training_iteration": 2, BEST: 0.65})
    search.on_trial_complete("c", {"training_iteration": 2, FAILED: "no such layer"})
    assert heard[0][0] == "COMPLETE"
    assert heard[1] == ("PRUNED", {1: 0.6, 2: 0.65})
    assert heard[2][0] == "FAIL"


def test_the_setting_that_decides_matters_most(tuning: Callable[..., Tuning]) -> None:
    space = tuning(space={**SPACE, "training.weight_decay": {"uniform": [0, 1]}}).space
    trials = [
        Trial(
            number=at,
            settings={RATE: 1e-4 * 1000 ** (at / 30), HIDDEN: [4], "training.weight_decay": at * 7 % 31 / 31},
            outcome="completed",
            scores=(1 - abs(at - 15) / 30,),
        )
        for at in range(1, 31)
    ]  # fmt: skip
    shares = importances(trials, space, "roc_auc")
    assert next(iter(shares)) == RATE and shares[RATE] > 0.6
    assert sum(shares.values()) == pytest.approx(1)
    assert importances(trials[:3], space, "roc_auc") == {}
    assert importance_bars(shares).startswith(b"\x89PNG")
    picture = parallel_coordinates(trials, space, "roc_auc")
    assert picture.startswith(b"\x89PNG") and picture == parallel_coordinates(
        trials, space, "roc_auc"
    )
    failed = [*trials, trial(31, outcome="failed", scores=()), trial(32, outcome="failed")]
    assert parallel_coordinates(failed, space, "roc_auc") == picture


def test_pictures_fit_into_a_dialog_whatever_the_space(tuning: Callable[..., Tuning]) -> None:
    names = [f"model.options.option_{at}" for at in range(9)]
    space = dict.fromkeys(names, tuning().space[RATE])
    settings = dict.fromkeys(names, 0.01)
    found = [
        Trial(number=at, settings=settings, outcome="completed", scores=(at / 9,)) for at in (1, 2)
    ]
    for made in (
        parallel_coordinates(found, space, "roc_auc"),
        importance_bars(dict.fromkeys(names, 0.1)),
    ):
        # The width in a PNG's header.
        assert int.from_bytes(made[16:20], "big") <= 1000


def test_bad_trials_do_not_squeeze_the_others_on_the_axis_of_scores() -> None:
    good = [0.87, 0.871, 0.872, 0.873, 0.874]
    low, high = score_limits([0.2, 0.5, *good], "roc_auc")
    assert high == 0.874 and 0.86 < low < 0.87
    mirrored = score_limits([1 - score for score in [0.2, 0.5, *good]], "log_loss")
    assert mirrored == pytest.approx((1 - high, 1 - low))
    assert score_limits(good, "roc_auc") == (0.87, 0.874)
    low, high = score_limits([0.8], "roc_auc")
    assert low < 0.8 < high


def test_without_the_extra_a_sentence_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    require_extra()
    find = importlib.util.find_spec
    missing = {"ray", "optuna"}
    for module in ("pipeline_assets.tuning.extra",):
        monkeypatch.setattr(f"{module}.find_spec", lambda n: None if n in missing else find(n))
    with pytest.raises(TuningError, match=r"needs ray and optuna.*pipeline_assets\[tune\]"):
        require_extra()
    missing.remove("optuna")
    with pytest.raises(TuningError, match="needs ray, not installed"):
        require_extra()
