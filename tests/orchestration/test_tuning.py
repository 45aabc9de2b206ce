"""tuning_study on a small use case: trials in MLflow, what is published, and a model made of the best."""

import re
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from mlflow import MlflowClient
from mlflow.entities import Run

from pipeline_assets.features.use_cases import load_checked_use_case
from pipeline_assets.orchestration import trial_runs
from pipeline_assets.orchestration.abandoned import end_tracking
from pipeline_assets.orchestration.definitions import use_case_definitions
from pipeline_assets.orchestration.tracking import Tracking
from pipeline_assets.orchestration.trial_runs import TrialRuns
from pipeline_assets.registry import RegistryError, prepare_store
from pipeline_assets.tuning.journal import Journal
from pipeline_assets.tuning.trials import Trial
from tests.orchestration import timed_use_case
from tests.orchestration.conftest import Project, failure_text
from tests.orchestration.tiny_use_case import at_home, published_project, write_project

UPSTREAM = (
    "raw", "validated", "rejected", "features", "feature_statistics", "tensor_shards",
)  # fmt: skip
TUNING: dict[str, Any] = {
    "trials": 4,
    "space": {
        "training.learning_rate": {"loguniform": [0.0001, 0.1]},
        "model.options.hidden": {"choice": [[4], [16]]},
    },
}
LOG: Any = dg.get_dagster_logger()


def store_of(project: Project) -> MlflowClient:
    return MlflowClient(tracking_uri=f"sqlite:///{project.home}/data/mlflow/mlflow.db")


def interrupted(project: Project, what: str, partition: str) -> Path:
    """What an execution with other settings has left."""
    folder = project.home / "data" / what / "tiny" / partition / "0123456789abcdef"
    folder.mkdir(parents=True)
    (folder / "lock").touch()
    return folder


@pytest.fixture(scope="module")
def studied(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Project, dg.ExecuteInProcessResult]]:
    """The data and one study of four trials."""
    with published_project(tmp_path_factory.mktemp("tuning"), assets=UPSTREAM) as project:
        project.edit(lambda attributes: attributes.update(tuning=TUNING))
        interrupted(project, "tuning", "all")
        interrupted(project, "tuning", "2018-04-01")
        result = project.run("tuning")
        assert result.success, failure_text(result)
        yield project, result


def metadata_of(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, Any]:
    [event] = result.asset_materializations_for_node(f"tiny__{asset}")
    return {name: entry.value for name, entry in event.metadata.items()}


@pytest.mark.heavy
def test_the_study_shows_its_trials_and_publishes_the_best(
    studied: tuple[Project, dg.ExecuteInProcessResult],
) -> None:
    project, result = studied
    version = project.current("tuning_study")
    trials, best = version.read_json("trials.json"), version.read_json("best.json")
    assert [trial["number"] for trial in trials] == [1, 2, 3, 4]
    # The first trial has the settings of the YAML where they are in the space; [8] is not.
    assert all(trial["settings"]["model.options.hidden"] in ([4], [16]) for trial in trials)
    assert all(1 <= len(trial["scores"]) <= 3 for trial in trials)
    scores = {trial["number"]: max(trial["scores"]) for trial in trials}
    assert best["score"] == max(scores.values()) == scores[best["trial"]]
    assert best["settings"] == trials[best["trial"] - 1]["settings"]
    shown = metadata_of(result, "tuning_study")
    assert shown["trials"] == 4 and shown["best_trial"] == best["trial"]
    assert shown["validation_roc_auc"] == pytest.approx(best["score"], rel=1e-5)
    assert shown["trials_table"].count("\n") == 1 + 4
    assert "data:image/png;base64," in shown["parallel_coordinates"]
    assert "data:image/png;base64," in shown["importance"]
    assert sorted(file.path for file in version.files("plots/")) == [
        "plots/importance.png", "plots/parallel_coordinates.png",
    ]  # fmt: skip
    # Interrupted ones of other settings are removed, but those of another training date.
    left = (project.home / "data" / "tuning" / "tiny").rglob("lock")
    assert sorted(path.parts[-3] for path in left) == ["2018-04-01", "all"]
    assert not (project.home / "data" / "tuning" / "tiny" / "all" / "0123456789abcdef").exists()
    ended = [line.split("|")[4].strip() for line in shown["trials_table"].splitlines()[2:]]
    assert all(re.fullmatch(r"all 3 epochs|stopped by halving after epoch [12]", e) for e in ended)


@pytest.mark.heavy
def test_without_the_extra_the_step_fails_with_a_sentence(
    studied: tuple[Project, dg.ExecuteInProcessResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline_assets.tuning.extra.find_spec", lambda name: None)
    result = studied[0].run("tuning")
    [event] = [event for event in result.all_node_events if event.is_step_failure]
    failure = event.step_failure_data.user_failure_data
    assert failure is not None and "needs ray and optuna" in (failure.description or "")


@pytest.mark.heavy
def test_each_trial_is_a_child_of_the_mlflow_run(
    studied: tuple[Project, dg.ExecuteInProcessResult],
) -> None:
    project, result = studied
    store = store_of(project)
    parent = metadata_of(result, "tuning_study")["mlflow_run_id"]
    assert store.get_run(parent).data.tags["dagster_run_id"] == result.run_id
    children = children_of(store, parent)
    published = project.current("tuning_study").read_json("trials.json")
    assert [run.info.run_name for run in children] == [f"trial {n}" for n in (1, 2, 3, 4)]
    for run, trial in zip(children, published):
        assert run.info.status == "FINISHED"
        rate = run.data.params["training.learning_rate"]
        assert float(rate) == trial["settings"]["training.learning_rate"]
        history = store.get_metric_history(run.info.run_id, "validation_roc_auc")
        assert sorted((item.step, item.value) for item in history) == list(
            enumerate(trial["scores"], start=1)
        )
    # Another step of the Dagster run, in a process of its own, finds the run by this tag.
    found = store.search_runs(
        [children[0].info.experiment_id], f"tags.dagster_run_id = '{result.run_id}'"
    )
    assert [run.info.run_id for run in found] == [parent]


@pytest.mark.heavy
def test_a_model_is_made_of_the_best_settings_when_the_spec_says_so(
    studied: tuple[Project, dg.ExecuteInProcessResult],
) -> None:
    project, _ = studied
    best = project.current("tuning_study").read_json("best.json")["settings"]
    project.edit(lambda attributes: attributes["tuning"].update(use_best=True))
    left, of_another_date = (
        interrupted(project, "checkpoints", date) for date in ("all", "2018-04-01")
    )
    result = project.run(asset_selection=[dg.AssetKey(["tiny", "trained_model"])])
    assert result.success, failure_text(result)
    assert list(left.parent.iterdir()) == [] and of_another_date.exists()
    tuned = project.current("trained_model")
    config = tuned.read_json("config.json")
    # The YAML says 0.02 and [8].
    assert config["training"]["learning_rate"] == best["training.learning_rate"] != 0.02
    assert config["model"]["options"]["hidden"] == best["model.options.hidden"] != [8]
    assert config["model"]["options"]["embedding_dim"] == 2
    study = project.current("tuning_study").data_version
    assert tuned.manifest.upstream["tuning_study"] == study
    assert tuned.manifest.metadata["ancestors"]["tuning_study"]["data_version"] == study


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("block", "change", "sentence"),
    [
        ("training", {"monitor": "log_loss"}, "was judged by roc_auc, training.monitor is log_loss"),
        ("tuning", {"space": {"training.patience": {"integer": [1, 3]}}}, "which is not in tuning.space"),
    ],
)  # fmt: skip
def test_settings_of_a_study_of_something_else_are_refused(
    studied: tuple[Project, dg.ExecuteInProcessResult],
    block: str,
    change: dict[str, Any],
    sentence: str,
) -> None:
    project, _ = studied
    text = project.file.read_text()

    def edit(attributes: dict[str, Any]) -> None:
        attributes["tuning"]["use_best"] = True
        attributes[block].update(change)

    try:
        project.edit(edit)
        result = project.run(asset_selection=[dg.AssetKey(["tiny", "trained_model"])])
    finally:
        project.file.write_text(text)
    assert not result.success
    assert sentence in failure_text(result)
    assert "materialise tuning_study again" in failure_text(result)


@pytest.mark.heavy
def test_a_published_study_continues_when_trials_are_raised(
    studied: tuple[Project, dg.ExecuteInProcessResult], capfd: pytest.CaptureFixture[str]
) -> None:
    project, _ = studied
    before = project.current("tuning_study").read_json("trials.json")
    project.edit(lambda attributes: attributes["tuning"].update(trials=5))
    result = project.run("tuning")
    assert result.success, failure_text(result)
    trials = project.current("tuning_study").read_json("trials.json")
    assert trials[:4] == before and [trial["number"] for trial in trials] == [1, 2, 3, 4, 5]
    said = capfd.readouterr().err
    assert "trials kept from executions before: 4 of 5" in said
    assert re.findall(r"trial (\d): (?:all|stopped)", said) == ["5"]
    # Complete, and executed once more, it is done anew.
    [file] = (project.home / "data" / "tuning" / "tiny" / "all").rglob("trials.jsonl")
    with Journal(file.parent) as journal:
        assert journal.published == len(journal.finished) == 5


def test_only_what_decides_the_search_makes_a_study_outdated(tmp_path: Path) -> None:
    file = write_project(tmp_path)

    def version(**keys: Any) -> str | None:
        document = yaml.safe_load(file.read_text())
        document["attributes"]["tuning"] = {**TUNING, **keys}
        file.write_text(yaml.safe_dump(document))
        definitions: Any = use_case_definitions(load_checked_use_case(file))
        [study] = [
            spec
            for asset in definitions.assets
            for spec in asset.specs
            if spec.key.path[-1] == "tuning_study"
        ]
        return study.code_version

    first = version()
    assert (
        version(use_best=True, max_concurrent=1, time_limit="10m", resources={"cpus": 2}) == first
    )
    assert len({first, version(trials=5), version(seed=1), version(search="random")}) == 4


def test_the_study_is_upstream_of_the_model_and_in_the_whole_chain_only_if_it_is_used(
    tmp_path: Path,
) -> None:
    file = write_project(tmp_path)
    for use_best in (False, True):
        with at_home(tmp_path), dg.DagsterInstance.ephemeral(str(tmp_path)) as instance:
            project = Project(home=tmp_path, file=file, instance=instance)
            tuning = {**TUNING, "use_best": use_best}
            project.edit(partial(dict.update, tuning=tuning))
            graph = project.definitions().resolve_asset_graph()
            study = dg.AssetKey(["tiny", "tuning_study"])
            upstream = graph.get(dg.AssetKey(["tiny", "trained_model"])).parent_keys
            assert (study in upstream) == use_best
            jobs = {
                name: set(project.definitions().resolve_job_def(f"tiny_{name}").asset_layer.selected_asset_keys)
                for name in ("full", "retrain", "tuning")
            }  # fmt: skip
            assert (study in jobs["full"]) == use_best
            assert study not in jobs["retrain"] and jobs["tuning"] == {study}


def test_a_use_case_with_training_dates_has_a_study_for_each(tmp_path: Path) -> None:
    file = tmp_path / "timed" / "defs.yaml"
    file.parent.mkdir()
    split = {"train": "14d", "validation": "7d", "test": "7d"}
    attributes = {**timed_use_case.ATTRIBUTES, "time_split": split}
    space = {"training.learning_rate": {"loguniform": [0.0001, 0.1]}}
    attributes["tuning"] = {"space": space, "use_best": True}
    document = {"type": "pipeline_assets.MLPipeline", "attributes": attributes}
    file.write_text(yaml.safe_dump(document))
    definitions: Any = use_case_definitions(load_checked_use_case(file))
    specs = {spec.key.path[-1]: spec for asset in definitions.assets for spec in asset.specs}
    study, model = specs["tuning_study"], specs["trained_model"]
    assert study.partitions_def == model.partitions_def is not None
    assert study.key in {dep.asset_key for dep in model.deps}
    rows = {dep.asset_key: dep.partition_mapping for dep in study.deps}
    shards = dg.AssetKey(["timed", "tensor_shards"])
    assert rows[shards] == {dep.asset_key: dep.partition_mapping for dep in model.deps}[shards]
    [job] = [job for job in definitions.jobs if job.name == "timed_tuning"]
    assert job.partitions_def == study.partitions_def


def children_of(store: MlflowClient, parent: str) -> list[Run]:
    """By number of the trial."""
    experiment = store.get_run(parent).info.experiment_id
    found = store.search_runs([experiment], f"tags.mlflow.parentRunId = '{parent}'")
    return sorted(found, key=lambda run: int(run.data.tags["tuning.trial"]))


@pytest.fixture
def begin_run(tmp_path: Path, empty_store: Path) -> Iterator[Any]:
    """Begins an MLflow run as a Dagster run does; returns its tracking."""
    write_project(tmp_path)
    store = tmp_path / "data" / "mlflow" / "mlflow.db"
    store.parent.mkdir(parents=True)
    shutil.copyfile(empty_store, store)
    with at_home(tmp_path):

        def begin() -> Tracking:
            tracking = Tracking(dg.build_init_resource_context(), "tiny")
            prepare_store(tracking.tracking_uri, experiment="tiny")
            store = MlflowClient(tracking_uri=tracking.tracking_uri)
            experiment = store.get_experiment_by_name("tiny")
            assert experiment is not None
            run = store.create_run(experiment.experiment_id)
            tracking.__dict__["run_id"] = run.info.run_id
            return tracking

        yield begin


def trial(number: int, **facts: Any) -> Trial:
    made = {
        "settings": {"training.learning_rate": 0.1},
        "outcome": "completed",
        "scores": (0.7, 0.8),
    }
    return Trial(number=number, began=1e9, seconds=5.0, **{**made, **facts})


def send(tracking: Tracking, *trials: Trial, study: str = "study") -> None:
    with TrialRuns(tracking, study, "roc_auc", LOG) as runs:
        for trial in trials:
            runs.add(trial)


def test_a_trial_is_in_mlflow_while_it_runs_and_ended_when_time_cuts_it_off(
    begin_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial_runs, "_SECONDS", 0.0)
    tracking = begin_run()
    store = MlflowClient(tracking_uri=tracking.tracking_uri)
    with TrialRuns(tracking, "study", "roc_auc", LOG) as runs:
        for scores in ((), (0.7,), (0.7, 0.8)):
            runs.add(trial(1, outcome="running", scores=scores))
            [child] = children_of(store, tracking.run_id)
            assert child.info.status == "RUNNING"
            assert child.data.metrics.get("validation_roc_auc") == (scores or (None,))[-1]
        assert child.data.params == {"training.learning_rate": "0.1"}
        runs.add(trial(2, outcome="running", scores=()))
        runs.add(trial(2, outcome="stopped", scores=(0.6,)))
    cut_off, stopped = children_of(store, tracking.run_id)
    assert (cut_off.info.status, stopped.info.status) == ("KILLED", "FINISHED")
    assert cut_off.data.tags["tuning.outcome"].startswith("cut off")
    # It begins again from nothing in the next execution, which ends it.
    again = begin_run()
    send(again, trial(2, outcome="stopped", scores=(0.6,)), trial(1, outcome="running", scores=()), trial(1))  # fmt: skip
    completed, _ = children_of(store, again.run_id)
    assert completed.info.run_id == cut_off.info.run_id and completed.info.status == "FINISHED"
    assert completed.data.tags["tuning.outcome"] == "completed"
    history = store.get_metric_history(completed.info.run_id, "validation_roc_auc")
    assert [(item.step, item.value) for item in history] == [(1, 0.7), (2, 0.8)]


def test_trials_of_a_killed_process_are_ended_with_its_run(begin_run: Any) -> None:
    tracking = begin_run()
    store = MlflowClient(tracking_uri=tracking.tracking_uri)
    store.set_tag(tracking.run_id, "dagster_run_id", "killed")
    TrialRuns(tracking, "study", "roc_auc", LOG).add(trial(1, outcome="running", scores=()))
    end_tracking(["another"])
    [child] = children_of(store, tracking.run_id)
    assert child.info.status == store.get_run(tracking.run_id).info.status == "RUNNING"
    end_tracking(["killed"])
    [child] = children_of(store, tracking.run_id)
    assert child.info.status == store.get_run(tracking.run_id).info.status == "KILLED"


def test_no_trial_runs_in_mlflow_when_the_study_has_failed(begin_run: Any) -> None:
    tracking = begin_run()
    store = MlflowClient(tracking_uri=tracking.tracking_uri)
    with pytest.raises(KeyboardInterrupt), TrialRuns(tracking, "study", "roc_auc", LOG) as runs:
        runs.add(trial(1, outcome="running", scores=()))
        raise KeyboardInterrupt
    [child] = children_of(store, tracking.run_id)
    assert child.info.status == "KILLED"


def test_a_continued_study_takes_over_the_runs_of_the_killed_one(begin_run: Any) -> None:
    killed = begin_run()
    diverged = trial(2, outcome="failed", scores=(), message="loss is NaN")
    send(killed, trial(1), diverged)
    store = MlflowClient(tracking_uri=killed.tracking_uri)
    before = [run.info.run_id for run in children_of(store, killed.run_id)]
    again = begin_run()
    send(again, trial(1), diverged, trial(3))
    assert children_of(store, killed.run_id) == []
    children = children_of(store, again.run_id)
    assert [run.info.run_id for run in children][:2] == before and len(children) == 3
    assert [run.info.status for run in children] == ["FINISHED", "FAILED", "FINISHED"]
    assert children[1].data.tags["tuning.message"] == "loss is NaN"
    tags = children[0].data.tags | {"tuning.trial": "4"}
    left = store.create_run(children[0].info.experiment_id, tags=tags)
    last = begin_run()
    send(last, trial(4))
    [completed] = children_of(store, last.run_id)
    assert (completed.info.run_id, completed.info.status) == (left.info.run_id, "FINISHED")
    assert completed.data.metrics == {"validation_roc_auc": 0.8}
    send(begin_run(), trial(1), study="another study")
    assert len(children_of(store, again.run_id)) == 3


def test_a_lost_mlflow_server_gets_the_trials_later(
    begin_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracking = begin_run()
    log, tried = TrialRuns._log_trial, []

    def away(*_: Any) -> None:
        tried.append(1)
        raise RegistryError("the MLflow server was lost")

    with TrialRuns(tracking, "study", "roc_auc", LOG) as runs:
        monkeypatch.setattr(TrialRuns, "_log_trial", away)
        runs.add(trial(1))
        runs.add(trial(2))
        # Each attempt holds up the study.
        assert len(tried) == 1
        monkeypatch.setattr(TrialRuns, "_log_trial", log)
    store = MlflowClient(tracking_uri=tracking.tracking_uri)
    assert len(children_of(store, tracking.run_id)) == 2
    monkeypatch.setattr(TrialRuns, "_log_trial", away)
    with pytest.raises(RegistryError, match="was lost"):
        send(tracking, trial(3))
