# ruff: noqa: T201 (the terminal is what this module writes to)
"""`pipeline_assets show`: what is published now, for people or as JSON. Gathering it is in `published`."""

import json
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from pipeline_assets.command.published import open_lake, published
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
    found = published(use_case.name, environment, open_lake(environment))
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
    yield from _model(found)
    yield from _profile(found)


def short_text(found: Mapping[str, Any]) -> Iterator[str]:
    """The summary after a run: rows per stage, rejected rows, metrics, where to look on."""
    yield "Rows"
    yield text_table(
        ["asset", "rows", "size", "data version"],
        [
            (_named(item), item["rows"], size(item["bytes"]), item["data_version"])
            for item in found["assets"]
        ],
    )
    yield from _outdated(found)
    yield from _rejected(found)
    yield from _metrics(found, SHORT_METRICS, intervals=False)
    yield from _model(found)
    profile = found["profile"]
    if profile:
        top = profile["bottleneck"]
        yield f"Most time: {top['stage']}, {top['share']:.0%} of all; {top['reason']}"


def _named(item: Mapping[str, Any]) -> str:
    return item["asset"] if item["partition"] == "all" else f"{item['asset']} {item['partition']}"


def _assets_table(found: Mapping[str, Any]) -> str:
    return text_table(
        ["asset", "rows", "files", "size", "data version", "version", "created (UTC)"],
        [
            (
                _named(item),
                item["rows"],
                item["files"],
                size(item["bytes"]),
                item["data_version"],
                item["version"],
                item["created_at"][:19].replace("T", " "),
            )
            for item in found["assets"]
        ],
    )


def _outdated(found: Mapping[str, Any]) -> Iterator[str]:
    outdated = [item for item in found["assets"] if item["outdated_inputs"]]
    for item in outdated:
        yield f"  {_named(item)} was made from an older version of {', '.join(item['outdated_inputs'])}"
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
