"""Models by training date: what each is made of, staleness, the registry, the backtest, a split that leaks."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline_assets.evaluation.backtest import Backtest
from pipeline_assets.evaluation.result import Evaluation
from pipeline_assets.orchestration.resources import environment_of
from pipeline_assets.registry import current_model
from tests.orchestration.conftest import failure_text
from tests.orchestration.timed_use_case import TimedProject, day, payments, timed_project

FIRST, SECOND = "2018-04-02", "2018-04-09"
MODELS = ("feature_statistics", "trained_model", "evaluation_report", "model_version")
DAYS = 19
CHANGES: dict[str, Any] = {
    "time": {"label_delay": "1d"},
    "time_split": {"train": "6d", "gap": "1d", "validation": "2d", "test": "2d"},
    "features": {"suspicious_auc": 0.999},
    "model": {
        "factory": "pipeline_assets.training.models.mlp:build",
        "options": {"hidden": [8], "embedding_dim": 2},
    },
    "training": {"max_epochs": 3, "batch_size": 32, "learning_rate": 0.02},
    "evaluation": {
        "baselines": ["majority"],
        "bootstrap_samples": 10,
        "permutation_repeats": 1,
        "gate": {"minimum": 0.5, "baseline": "majority"},
        "exclude_known": ["customer"],
        "metrics": [
            {
                "name": "cards_found",
                "function": "pipeline_assets.evaluation.business.card_precision:card_precision_at_k",
                "options": {"entity": "customer", "k": 3},
            }
        ],
    },
}


def land(project: TimedProject, number: int, *, seed: int = 0) -> None:
    """The payments of a day, in which large amounts are fraud; only few customers are ever defrauded."""
    table = payments(number, 60, seed)
    draw = np.random.default_rng([number, seed, 7])
    customer = [f"c{value}" for value in draw.integers(0, 40, 60)]
    fraud = table["amount"].to_numpy() + draw.normal(0, 10, 60) > 110
    table = table.set_column(2, "customer", pa.array(customer))
    table = table.set_column(4, "fraud", pa.array(fraud.astype("int32")))
    path = project.home / "landing" / f"{day(number)}.parquet"
    path.parent.mkdir(exist_ok=True)
    pq.write_table(table, path)


def train(project: TimedProject, date: str, **options: Any) -> dg.ExecuteInProcessResult:
    return project.run("train", partition_key=date, **options)


def stale(project: TimedProject) -> dict[str, list[str]]:
    """Model asset to its stale training dates, as the UI finds them."""
    from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
    from dagster._core.loader import LoadingContextForTest

    graph = project.definitions().resolve_asset_graph()
    resolver = CachingStaleStatusResolver(
        project.instance, graph, LoadingContextForTest(project.instance)
    )
    found: dict[str, list[str]] = {}
    for asset in MODELS:
        for date in (FIRST, SECOND):
            key = dg.AssetKey(["payments", asset])
            if resolver.get_status(key, date) == StaleStatus.STALE:
                found.setdefault(asset, []).append(date)
    return found


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TimedProject]:
    """Nineteen days of data, and the models of two training dates."""
    with timed_project(tmp_path_factory.mktemp("payments"), CHANGES) as project:
        for number in range(DAYS):
            land(project, number)
        data = project.days(0, DAYS - 1)
        assert data.success, failure_text(data)
        for date in (FIRST, SECOND):
            result = train(project, date)
            assert result.success, failure_text(result)
        yield project


def version(project: TimedProject, asset: str, date: str) -> Any:
    return project.lake.dataset("payments", asset).require(date)


@pytest.mark.heavy
def test_each_date_is_made_of_its_own_days(project: TimedProject) -> None:
    # 1 day of delay, 2 of validation, 1 of gap, 6 of training before 2018-04-02.
    training = {f"tensor_shards@2018-03-{n}" for n in range(23, 29)}
    validation = {"tensor_shards@2018-03-30", "tensor_shards@2018-03-31"}
    test = {"tensor_shards@2018-04-02", "tensor_shards@2018-04-03"}
    model = version(project, "trained_model", FIRST)
    shards = {name for name in model.manifest.upstream if name.startswith("tensor_shards")}
    assert shards == training | validation
    assert model.rows == 6 * 60
    report = version(project, "evaluation_report", FIRST)
    shards = {name for name in report.manifest.upstream if name.startswith("tensor_shards")}
    assert shards == training | validation | test
    evaluation = Evaluation.from_json(report.read_bytes("evaluation.json"))
    assert evaluation.splits["validation"].rows == 120
    assert evaluation.splits["test"].rows + evaluation.excluded_rows == 120
    assert evaluation.excluded_rows > 0
    assert set(evaluation.model.daily["cards_found"]) == {"2018-04-02", "2018-04-03"}
    statistics = version(project, "feature_statistics", FIRST).read_json("statistics.json")
    assert statistics["rows"] == {"train": 360, "validation": 120, "test": 120}
    assert project.lake.dataset("payments", "trained_model").partitions() == [FIRST, SECOND]


@pytest.mark.heavy
def test_an_earlier_date_challenges_nobody(project: TimedProject) -> None:
    def challenger() -> str | None:
        uri = environment_of("").mlflow.tracking_uri
        model = current_model("payments", tracking_uri=uri)
        return model and model.tags["training_date"]

    assert challenger() == SECOND
    again = train(project, FIRST)
    assert again.success, failure_text(again)
    assert challenger() == SECOND
    made = version(project, "trained_model", FIRST).data_version
    events = {
        event.asset_key.path[-1]: event.materialization.tags["dagster/data_version"]
        for event in again.get_asset_materialization_events()
        if event.asset_key
    }
    assert events["trained_model"] == made, "the same data give the same weights"


@pytest.mark.heavy
def test_the_backtest_puts_the_dates_together(project: TimedProject) -> None:
    result = project.run("backtest")
    assert result.success, failure_text(result)
    report = project.lake.dataset("payments", "backtest_report").require()
    found = Backtest.from_json(report.read_bytes("backtest.json"))
    values = [
        Evaluation.from_json(
            version(project, "evaluation_report", date).read_bytes("evaluation.json")
        ).model.metrics
        for date in (FIRST, SECOND)
    ]
    assert [item.date for item in found.dates] == [FIRST, SECOND]
    for metric in ("roc_auc", "cards_found"):
        course = found.predictors[0].metrics[metric]
        assert course.values == [value[metric].value for value in values]
        assert course.mean == pytest.approx(np.mean(course.values))
    page = report.read_bytes("report.html").decode()
    assert FIRST in page and "Cards found" in page
    check = result.get_asset_check_evaluations()[0]
    assert check.passed and check.check_name == "every_trained_date_is_in_it"


@pytest.mark.heavy
def test_a_refused_model_is_in_the_backtest_and_not_in_the_registry(project: TimedProject) -> None:
    def set_minimum(value: float) -> None:
        project.edit(lambda attributes: attributes["evaluation"]["gate"].update(minimum=value))

    before = version(project, "model_version", SECOND).data_version
    set_minimum(0.999999)
    try:
        result = train(project, SECOND)
        assert not result.success
        report = Evaluation.from_json(
            version(project, "evaluation_report", SECOND).read_bytes("evaluation.json")
        )
        assert report.verdict is not None and not report.verdict.passed
        alone = train(project, SECOND, asset_selection=[dg.AssetKey(["payments", "model_version"])])
        assert f"not registered: {report.verdict.reason}" in failure_text(alone)
        assert version(project, "model_version", SECOND).data_version == before
        backtest = project.run("backtest")
        assert backtest.success, failure_text(backtest)
        found = Backtest.from_json(
            project.lake.dataset("payments", "backtest_report")
            .require()
            .read_bytes("backtest.json")
        )
        assert [(item.date, item.passed) for item in found.dates] == [
            (FIRST, True),
            (SECOND, False),
        ]
    finally:
        set_minimum(0.5)
    result = train(project, SECOND)
    assert result.success, failure_text(result)


@pytest.mark.heavy
def test_a_changed_day_makes_the_dates_that_read_it_stale(project: TimedProject) -> None:
    assert stale(project) == {}
    # Its windows of two days reach to the third day, which is before all weeks of the second date.
    land(project, 0, seed=1)
    changed = project.days(0, 2)
    assert changed.success, failure_text(changed)
    found = stale(project)
    # What was made of them follows when they have changed.
    assert set(found) == {"feature_statistics", "trained_model", "evaluation_report"}
    assert all(dates == [FIRST] for dates in found.values())
    result = train(project, FIRST)
    assert result.success, failure_text(result)
    assert stale(project) == {}


@pytest.mark.heavy
def test_missing_days_are_named(project: TimedProject) -> None:
    result = train(
        project, "2018-04-16", asset_selection=[dg.AssetKey(["payments", "feature_statistics"])]
    )
    assert not result.success
    text = failure_text(result)
    assert "training date 2018-04-16 of payments needs 5 partitions of features" in text
    assert "train: 2018-04-11; validation: 2018-04-13 to 2018-04-14; test: 2018-04-16" in text


@pytest.mark.heavy
def test_no_training_dates_and_evaluations_of_former_models_are_left_out(
    project: TimedProject,
) -> None:
    def publish(asset: str, partition: str) -> None:
        with project.lake.dataset("payments", asset).stage(partition) as staged:
            staged.write_json("content.json", {})
            staged.seal(rows=1, schema=[], metadata={"ancestors": {}})
            staged.publish()

    for asset in MODELS[1:]:
        publish(asset, "all")
        publish(asset, "2018-04-10")  # a Tuesday
    publish("trained_model", SECOND)
    result = project.run("backtest")
    assert result.success, failure_text(result)
    report = project.lake.dataset("payments", "backtest_report").require()
    found = Backtest.from_json(report.read_bytes("backtest.json"))
    assert [item.date for item in found.dates] == [FIRST]
    (check,) = result.get_asset_check_evaluations()
    assert not check.passed and (check.description or "").endswith(f" current model: {SECOND}")
    again = train(project, SECOND)
    assert again.success, failure_text(again)
    made = version(project, "model_version", SECOND).read_json("model_version.json")
    assert made["alias"] == "challenger"


@pytest.mark.heavy
def test_a_random_split_over_time_warns(tmp_path: Path) -> None:
    changes = {key: value for key, value in CHANGES.items() if key != "time_split"}
    changes["evaluation"] = {**changes["evaluation"], "exclude_known": []}
    with timed_project(tmp_path, changes) as project:
        for number in range(DAYS):
            land(project, number)
        assert project.days(0, DAYS - 1).success
        result = project.run("train")
        assert result.success, failure_text(result)
        check = next(
            check
            for check in result.get_asset_check_evaluations()
            if check.check_name == "split_by_time"
        )
        assert not check.passed and check.severity == dg.AssetCheckSeverity.WARN
        assert "every figure is too good" in (check.description or "")
        assert any(
            "warning" in event.materialization.metadata
            for event in result.get_asset_materialization_events()
        )
        rows = project.current("feature_statistics").read_json("statistics.json")["rows"]
        assert sum(rows.values()) == DAYS * 60
