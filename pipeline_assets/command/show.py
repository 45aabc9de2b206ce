# ruff: noqa: T201 (the terminal is what this module writes to)
"""`pipeline_assets show`: what is published now, for people or as JSON. Gathering it is in `published`."""

import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipeline_assets.command.published import WHOLE, open_lake, published
from pipeline_assets.command.table import place, size, text_table
from pipeline_assets.command.use_cases import find_use_case
from pipeline_assets.environments import load_environment

METRICS = {
    "roc_auc": "ROC AUC",
    "average_precision": "avg. precision",
    "f1": "F1",
    "precision": "precision",
    "recall": "recall",
    "log_loss": "log loss",
    "brier": "Brier",
    "ece": "ECE",
}
"""Metric name to column title."""
SHORT_METRICS = ("roc_auc", "average_precision", "f1", "log_loss")


def show(name: str, *, as_json: bool = False) -> int:
    """Print what a use case has published; exit status 0, or 1 where there is nothing yet.

    Raises:
        CommandError: there is no such use case.
        LakeError: what is published is damaged.
    """
    use_case = find_use_case(name)
    environment = load_environment()
    found = published(use_case, environment, open_lake(environment))
    if as_json:
        print(json.dumps(found, indent=2))
        return 0 if found["assets"] else 1
    if not found["assets"]:
        print(f"{use_case.name}: nothing is published in {place(found['lake'])} yet")
        print(f"run `pipeline_assets run {use_case.name}` (or `make run` for churn) first")
        return 1
    print("\n".join(full_text(found)))
    return 0


def full_text(found: Mapping[str, Any]) -> Iterator[str]:
    """All of it, a line at a time."""
    yield f"{found['use_case']} in {place(found['lake'])} (environment {found['environment']})"
    yield ""
    yield "Published"
    yield _assets_table(found)
    yield from _outdated(found)
    yield from _rejected(found)
    yield from _splits(found)
    yield from _metrics(found, tuple(METRICS), intervals=True)
    yield from _backtest(found)
    yield from _model(found)
    yield from _profile(found)


def short_text(found: Mapping[str, Any]) -> Iterator[str]:
    """The summary after a run: rows per stage, rejected rows, metrics, where to look on."""
    yield "Rows"
    yield text_table(
        ["asset", "rows", "size", "data version"],
        [
            (
                asset,
                sum(item["rows"] for item in items),
                size(_bytes(items)),
                _which(items, "data_version"),
            )
            for asset, items in _by_asset(found).items()
        ],
    )
    yield from _outdated(found)
    yield from _rejected(found)
    yield from _metrics(found, SHORT_METRICS, intervals=False)
    yield from _backtest(found)
    yield from _model(found)
    profile = found["profile"]
    if profile:
        top = profile["bottleneck"]
        yield f"Most time: {top['stage']}, {top['share']:.0%} of all; {top['reason']}"


def _by_asset(found: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The versions of each asset, of one or of all partitions."""
    assets: dict[str, list[dict[str, Any]]] = {}
    for item in found["assets"]:
        assets.setdefault(item["asset"], []).append(item)
    return assets


def _bytes(items: Sequence[Mapping[str, Any]]) -> int:
    return sum(item["bytes"] for item in items)


def _which(items: Sequence[Mapping[str, Any]], key: str) -> str:
    """A fact of the only version, or which partitions there are."""
    if items[0]["partition"] == WHOLE:
        return items[0][key]
    partitions = sorted(item["partition"] for item in items)
    if len(partitions) == 1:
        return f"partition {partitions[0]}"
    return f"{len(partitions):,} partitions, {partitions[0]} to {partitions[-1]}"


def _assets_table(found: Mapping[str, Any]) -> str:
    return text_table(
        ["asset", "rows", "files", "size", "data version", "version", "created (UTC)"],
        [
            (
                asset,
                sum(item["rows"] for item in items),
                sum(item["files"] for item in items),
                size(_bytes(items)),
                _which(items, "data_version"),
                items[0]["version"] if items[0]["partition"] == WHOLE else None,
                max(item["created_at"] for item in items)[:19].replace("T", " "),
            )
            for asset, items in _by_asset(found).items()
        ],
    )


def _outdated(found: Mapping[str, Any]) -> Iterator[str]:
    outdated = False
    for asset, items in _by_asset(found).items():
        old = [item for item in items if item["outdated_inputs"]]
        if old:
            outdated = True
            inputs = {name.partition("@")[0] for item in old for name in item["outdated_inputs"]}
            which = "" if old[0]["partition"] == WHOLE else f" ({_which(old, 'partition')})"
            yield f"  {asset}{which} was made from an older version of {', '.join(sorted(inputs))}"
    unlike = found["unlike_halves"]
    if unlike:
        of = "" if unlike == ["all"] else f" of {', '.join(unlike)}"
        yield (
            f"  validated and rejected{of} are of two validations, a run was interrupted between them: "
            "materialise both again"
        )
    if found["missing"]:
        yield f"  not published: {', '.join(found['missing'])}"
    if outdated or unlike or found["missing"]:
        yield f"  `pipeline_assets run {found['use_case']}` brings all of them up to date"


def _rejected(found: Mapping[str, Any]) -> Iterator[str]:
    validation = found["validation"]
    if validation is None:
        return
    share = validation["rows_rejected"] / max(validation["rows_raw"], 1)
    yield ""
    yield (
        f"Rejected: {validation['rows_rejected']:,} of {validation['rows_raw']:,} rows ({share:.2%}); "
        "a row may break several rules"
    )
    severities = validation["severities"]
    yield (
        text_table(
            ["rule", "rows", "outcome"],
            [
                (rule, count, "counted" if severities.get(rule) == "warn" else "rejected")
                for rule, count in validation["violations"].items()
            ],
        )
        or "  no rule is broken"
    )
    for reason, count in validation["malformed_by_reason"].items():
        yield f"  malformed line: {reason}: {count:,}"


def _splits(found: Mapping[str, Any]) -> Iterator[str]:
    if found["splits"]:
        yield ""
        yield "Splits"
        yield text_table(
            ["split", "rows", "label rate"],
            [(name, split["rows"], split["label_rate"]) for name, split in found["splits"].items()],
        )


def _metrics(found: Mapping[str, Any], names: tuple[str, ...], *, intervals: bool) -> Iterator[str]:
    evaluation = found["evaluation"]
    if evaluation is None:
        return
    yield ""
    title = f"On {evaluation['test_rows']:,} untouched test rows"
    if evaluation["training_date"]:
        title += f" of the training date {evaluation['training_date']}"
    yield f"{title}, {evaluation['confidence']:.0%} intervals" if intervals else title
    predictors = evaluation["predictors"]
    if intervals:
        yield text_table(
            ["metric", *[predictor["title"] for predictor in predictors]],
            [
                (
                    METRICS[name],
                    *[_estimate(predictor["metrics"].get(name)) for predictor in predictors],
                )
                for name in names
            ],
        )
    else:
        yield text_table(
            ["predictor", *[METRICS[name] for name in names]],
            [
                (
                    predictor["title"],
                    *[(predictor["metrics"].get(name) or {}).get("value") for name in names],
                )
                for predictor in predictors
            ],
        )
    best = evaluation["best_possible_auc"]
    if best:
        yield f"  best possible ROC AUC (the data is generated, the truth is known): {_estimate(best)}"
    if evaluation["gate"]["reason"]:
        yield f"  gate: {evaluation['gate']['reason']}"
    worst = evaluation["worst_slice"]
    if worst:
        metric = evaluation["slice_metric"]
        yield (
            f"  worst slice: {worst['feature']} {worst['group']}: {METRICS.get(metric, metric)} "
            f"{_estimate(worst['metrics'].get(metric))} on {worst['rows']:,} rows"
        )
    for note in evaluation["notes"]:
        yield f"  note: {note}"


def _backtest(found: Mapping[str, Any]) -> Iterator[str]:
    backtest = found["backtest"]
    if backtest is None:
        return
    dates, titles = backtest["dates"], backtest["titles"]
    names = [name for name in titles if name in SHORT_METRICS or name not in METRICS]
    yield ""
    yield (
        f"Backtest over {len(dates)} training date{'s' * (len(dates) > 1)}, {dates[0]['date']} to "
        f"{dates[-1]['date']}: mean and standard deviation"
    )
    refused = [item["date"] for item in dates if not item["passed"]]
    if refused:
        yield f"  refused by the gate, and in the means: {', '.join(refused)}"
    yield text_table(
        ["predictor", *[titles[name] for name in names]],
        [
            (predictor["title"], *[_course(predictor["metrics"].get(name)) for name in names])
            for predictor in backtest["predictors"]
        ],
    )
    yield f"  report: {place(backtest['report'])}"


def _course(course: Mapping[str, Any] | None) -> str:
    if course is None or course["mean"] is None:
        return "-"
    deviation = course["deviation"]
    return f"{course['mean']:.4f}" + ("" if deviation is None else f" ± {deviation:.4f}")


def _estimate(estimate: Mapping[str, Any] | None) -> str:
    if estimate is None or estimate["value"] is None:
        return "-"
    if estimate.get("low") is None or estimate.get("high") is None:
        return f"{estimate['value']:.4f}"
    return f"{estimate['value']:.4f} [{estimate['low']:.4f}, {estimate['high']:.4f}]"


def _model(found: Mapping[str, Any]) -> Iterator[str]:
    yield ""
    model = found["model"]
    if model:
        yield f"Model:  {model['name']} version {model['version']}, alias {model['alias']} ({model['model_uri']})"
        yield f"        MLflow run {model['mlflow_run_id']} at {model['tracking_uri']}"
    if found["model_folder"]:
        yield f"Folder: {place(found['model_folder'])}"
    if found["report"]:
        yield f"Report: {place(found['report'])}"
    yield f"Lake:   {place(found['lake'])}"


def _profile(found: Mapping[str, Any]) -> Iterator[str]:
    profile = found["profile"]
    if profile is None:
        return
    from pipeline_assets.profiling import Profile, stage_table

    yield ""
    yield "Stages"
    table = stage_table(
        {name: Profile.from_dict(stage) for name, stage in profile["stages"].items()}
    )
    yield textwrap.indent(table, "  ")
