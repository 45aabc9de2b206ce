"""backtest_report: the evaluations of all training dates as one. Backfilling the model assets is the backtest."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import dagster as dg

from pipeline_assets.orchestration.assets import stage_asset
from pipeline_assets.orchestration.metadata import fixed, markdown_table, picture
from pipeline_assets.orchestration.resources import Platform
from pipeline_assets.orchestration.stage import StageRun, stage_run
from pipeline_assets.orchestration.training_sets import published_dates
from pipeline_assets.spec import UseCase
from pipeline_assets.spec.credentials import without_credentials

if TYPE_CHECKING:
    from pipeline_assets.evaluation.backtest import Backtest, Course

EVERY_DATE_JUDGED = "every_trained_date_is_in_it"


def build_backtest_report(use_case: UseCase) -> dg.AssetsDefinition:
    """The `backtest_report` asset of a use case with `time_split`."""
    key = dg.AssetKey([use_case.name, "backtest_report"])

    @stage_asset(
        use_case,
        "backtest_report",
        stage="evaluation",
        kinds={"json"},
        deps=["evaluation_report"],
        description="Each metric over the training dates, with mean and deviation, for model and baselines.",
        check_specs=[
            dg.AssetCheckSpec(
                EVERY_DATE_JUDGED,
                asset=key,
                description="Dates whose model has no report of its own, so that the means lack them.",
            )
        ],
    )
    def backtest_report(
        context: dg.AssetExecutionContext, platform: Platform
    ) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult]:
        from pipeline_assets.evaluation.backtest_report import backtest_plots, render_backtest

        with stage_run(context, platform, use_case) as run:
            trained = {
                date: platform.dataset(use_case.name, "trained_model").require(date).data_version
                for date in published_dates(run, "trained_model")
            }
            found = _read(run, trained)
            missing = sorted(set(trained) - {item.date for item in found.dates})
            plots = backtest_plots(found)
            staged = run.stage("backtest_report")
            staged.write_bytes("backtest.json", found.to_json().encode())
            staged.write_bytes("report.html", render_backtest(found, plots=plots).encode())
            for name, png in plots.items():
                staged.write_bytes(f"plots/{name}.png", png)
            run.seal(staged, rows=len(found.dates), metadata={"dates_without_report": missing})
            version = run.publish(staged)
            yield dg.AssetCheckResult(
                asset_key=key,
                check_name=EVERY_DATE_JUDGED,
                passed=not missing,
                severity=dg.AssetCheckSeverity.WARN,
                description=f"trained, but without an evaluation_report of the current model: {', '.join(missing)}"
                if missing
                else f"{len(found.dates)} training dates",
            )
            yield run.result(
                version,
                {
                    **{
                        f"mean_{name}": course.mean
                        for name, course in found.predictors[0].metrics.items()
                        if course.mean is not None
                    },
                    "means": dg.MetadataValue.md(means_table(found)),
                    "dates": dg.MetadataValue.md(dates_table(found)),
                    "report": dg.MetadataValue.path(
                        without_credentials(version.path("report.html"))
                    ),
                    **{name: picture(png, name) for name, png in plots.items()},
                },
            )

    return backtest_report


def _read(run: StageRun, trained: Mapping[str, str]) -> "Backtest":
    """The evaluations of the models that are current; `trained` has their data versions by date."""
    from pipeline_assets.evaluation.backtest import backtest
    from pipeline_assets.evaluation.result import Evaluation

    dataset = run.platform.dataset(run.use_case.name, "evaluation_report")
    published = {name: dataset.require(name) for name in published_dates(run, "evaluation_report")}
    versions = {
        name: version
        for name, version in published.items()
        if name in trained and version.manifest.upstream.get("trained_model") == trained[name]
    }
    for name, version in versions.items():
        run.inputs[f"evaluation_report@{name}"] = version.data_version
    return backtest(
        {
            name: Evaluation.from_json(version.read_bytes("evaluation.json"))
            for name, version in versions.items()
        },
        {name: version.data_version for name, version in versions.items()},
    )


def means_table(found: "Backtest") -> str:
    """Mean and deviation of each metric (rows) for each predictor (columns), as markdown."""
    return markdown_table(
        ["metric", *(item.title for item in found.predictors)],
        [
            (title, *(_figure(item.metrics[metric]) for item in found.predictors))
            for metric, title in found.titles.items()
        ],
    )


def dates_table(found: "Backtest") -> str:
    """The model's metrics at each training date, as markdown."""
    model = found.predictors[0]
    return markdown_table(
        ["training date", "test rows", "gate", *found.titles.values()],
        [
            (
                item.date,
                item.test_rows,
                "passed" if item.passed else "failed",
                *(fixed(model.metrics[metric].values[at]) for metric in found.titles),
            )
            for at, item in enumerate(found.dates)
        ],
    )


def _figure(course: "Course") -> str:
    if course.mean is None:
        return "n/a"
    spread = "" if course.deviation is None else f" ± {course.deviation:.4f}"
    return f"{course.mean:.4f}{spread}"
