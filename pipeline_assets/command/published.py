"""Gathers what a use case has published, from manifests and the small JSON files beside them, into one dict.

How it is shown is in `show`. Row data is never read.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from pipeline_assets.contract.halves import are_halves
from pipeline_assets.environments import Environment, load_environment
from pipeline_assets.lake import Lake, Version
from pipeline_assets.spec import UseCase
from pipeline_assets.spec.credentials import without_credentials

ASSETS = (
    "raw",
    "validated",
    "rejected",
    "features",
    "feature_statistics",
    "tensor_shards",
    "trained_model",
    "evaluation_report",
    "model_version",
    "run_profile",
)
"""Assets of a use case in the order in which data walks through them."""

TIMED_DATA = ("raw", "validated", "rejected", "features", "tensor_shards")
"""Those of a use case with `time`, a version per partition."""
TIMED_MODELS = ("feature_statistics", "trained_model", "evaluation_report", "model_version")
"""Those with `time_split` on top, a version per training date; the backtest puts them together."""
BACKTEST = "backtest_report"
WHOLE = "all"
"""Partition of assets without partitions."""


def expected_assets(use_case: UseCase) -> tuple[str, ...]:
    """The assets that a whole run of the use case publishes; joined sources have further ones."""
    if use_case.time is None:
        return ASSETS
    return (*TIMED_DATA, *((*TIMED_MODELS, BACKTEST) if use_case.time_split is not None else ()))


def open_lake(environment: Environment | None = None) -> Lake:
    """The lake of the environment (`PIPELINE_ENV`)."""
    settings = (environment or load_environment()).lake
    return Lake(settings.uri, settings.storage_options)


def published(use_case: UseCase, environment: Environment, lake: Lake) -> dict[str, Any]:
    """Everything that is current now, JSON-safe; parts that are not published are None or empty.

    Of assets with partitions, the newest one speaks for evaluation, model and report.

    Raises:
        LakeError: a manifest or a file beside it is damaged.
    """
    name, expected = use_case.name, expected_assets(use_case)
    there = [dataset.asset for dataset in lake.datasets() if dataset.use_case == name]
    versions = {
        (asset, partition): version
        for asset in dict.fromkeys((*expected, *there))
        for partition in lake.dataset(name, asset).partitions()
        if (version := lake.dataset(name, asset).current(partition)) is not None
    }
    # Partitions are times, so the last one is the newest.
    newest = {asset: version for (asset, _), version in versions.items()}
    current = {key: version.data_version for key, version in versions.items()}
    return {
        "use_case": name,
        "environment": environment.name,
        "engine": environment.engine.kind,
        "lake": without_credentials(lake.uri),
        "assets": [_asset(version, current) for version in versions.values()],
        "unlike_halves": _unlike_halves(versions),
        "missing": [asset for asset in expected if asset not in newest],
        "validation": _validation(versions),
        "splits": _splits(newest),
        "evaluation": _evaluation(newest),
        "backtest": _backtest(newest.get(BACKTEST)),
        "model": _json(newest.get("model_version"), "model_version.json"),
        "model_folder": without_credentials(newest["trained_model"].uri)
        if "trained_model" in newest
        else None,
        "report": without_credentials(newest["evaluation_report"].path("report.html"))
        if "evaluation_report" in newest
        else None,
        "profile": _profile(newest),
    }


def _asset(version: Version, current: Mapping[tuple[str, str], str]) -> dict[str, Any]:
    manifest = version.manifest
    return {
        "asset": manifest.asset,
        "partition": manifest.partition,
        "version": manifest.version,
        "data_version": manifest.data_version,
        "rows": manifest.rows,
        "bytes": manifest.total_bytes,
        "files": len(manifest.files),
        "created_at": manifest.created_at,
        "published_at": version.published_at,
        "dagster_run_id": manifest.run_id,
        "uri": without_credentials(version.uri),
        "upstream": dict(manifest.upstream),
        # An upstream asset has moved on since: this one was made from an older version of it.
        "outdated_inputs": sorted(
            asset
            for asset, made_from in manifest.upstream.items()
            if _current(asset, manifest.partition, current) not in (None, made_from)
        ),
    }


def _current(name: str, partition: str, current: Mapping[tuple[str, str], str]) -> str | None:
    """The current data version of an input as manifests name it: `asset`, or `asset@partition`."""
    asset, _, of = name.partition("@")
    for candidate in (of,) if of else (partition, WHOLE):
        if (asset, candidate) in current:
            return current[asset, candidate]
    return None


def _unlike_halves(versions: Mapping[tuple[str, str], Version]) -> list[str]:
    """Partitions whose validated and rejected are not of one validation."""
    return [
        partition
        for (asset, partition), validated in versions.items()
        if asset == "validated"
        and ("rejected", partition) in versions
        and not are_halves(validated, versions["rejected", partition])
    ]


def _validation(versions: Mapping[tuple[str, str], Version]) -> dict[str, Any] | None:
    """What the contract said of all partitions together."""
    found = [
        version.manifest.metadata["validation"]
        for (asset, _), version in versions.items()
        if asset == "validated"
    ]
    if not found:
        return None
    malformed = Counter()
    for (asset, _), version in versions.items():
        if asset == "raw":
            malformed.update(version.manifest.metadata.get("malformed_by_reason", {}))
    violations = Counter()
    for one in found:
        violations.update(one["violations"])
    return {
        **{
            count: sum(one[count] for one in found)
            for count in ("rows_raw", "rows_validated", "rows_rejected")
        },
        "violations": {rule: count for rule, count in violations.most_common() if count},
        "severities": {rule: s for one in found for rule, s in one.get("severities", {}).items()},
        "malformed_by_reason": dict(malformed),
    }


def _splits(newest: Mapping[str, Version]) -> dict[str, dict[str, Any]]:
    if "features" not in newest:
        return {}
    metadata = newest["features"].manifest.metadata
    rates = metadata.get("label_rates", {})
    return {
        split: {"rows": rows, "label_rate": rates.get(split)}
        for split in ("train", "validation", "test")
        if (rows := metadata.get("split_rows", {}).get(split)) is not None
    }


def _evaluation(newest: Mapping[str, Version]) -> dict[str, Any] | None:
    found = _json(newest.get("evaluation_report"), "evaluation.json")
    if found is None:
        return None
    verdict = newest["evaluation_report"].manifest.metadata
    return {
        "predictors": [
            {key: predictor[key] for key in ("name", "title", "threshold", "metrics", "confusion")}
            for predictor in (found["model"], *found["baselines"])
        ],
        "comparisons": found["comparisons"],
        "best_possible_auc": found["best_possible_auc"],
        "worst_slice": found["worst_slice"],
        "slice_metric": found["slice_metric"],
        "confidence": found["confidence"],
        "test_rows": found["splits"]["test"]["rows"],
        "training_date": found.get("training_date"),
        "gate": {key: verdict.get(key) for key in ("passed", "reason")},
        "notes": found["notes"],
    }


def _backtest(version: Version | None) -> dict[str, Any] | None:
    found = _json(version, "backtest.json")
    if found is None or version is None:
        return None
    return {**found, "report": version.path("report.html")}


def _report(newest: Mapping[str, Version]) -> str | None:
    version = newest.get("evaluation_report")
    return None if version is None else version.path("report.html")


def _profile(newest: Mapping[str, Version]) -> dict[str, Any] | None:
    from pipeline_assets.profiling import Profile, bottleneck

    stages = {
        asset: newest[asset].manifest.metadata["profile"]
        for asset in ASSETS
        # `rejected` is made together with `validated`: its profile is the same seconds once more.
        if asset in newest
        and asset not in ("rejected", "run_profile")
        and newest[asset].manifest.metadata.get("profile")
    }
    if not stages:
        return None
    top = bottleneck({asset: Profile.from_dict(stage) for asset, stage in stages.items()})
    return {"stages": stages, "bottleneck": top.to_dict() if top else None}


def _json(version: Version | None, file: str) -> dict[str, Any] | None:
    return None if version is None else version.read_json(file)
