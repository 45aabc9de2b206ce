"""The published data against the training data of the model in use. What drift is, is in `monitoring`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import dagster as dg

from pipeline_assets.lake import Version
from pipeline_assets.monitoring.drift import DriftResult, compare, compare_volume
from pipeline_assets.orchestration.metadata import markdown_table
from pipeline_assets.orchestration.resources import Platform
from pipeline_assets.spec import UseCase
from pipeline_assets.statistics.model import FeatureStatistics


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Today's data against the model in use."""

    results: Sequence[DriftResult]
    compared: Mapping[str, str]
    """Data versions of raw and features, and of the model in use."""
    trained_on_these_features: bool
    """The newest trained model has seen the published features: training again would bring nothing new."""

    @property
    def failed(self) -> list[DriftResult]:
        """The tests that failed."""
        return [result for result in self.results if not result.passed]

    @property
    def reference(self) -> str:
        """What the data are compared with."""
        return f"trained_model {self.compared['model']}"

    @property
    def summary(self) -> str:
        """One sentence."""
        if not self.failed:
            return f"{len(self.results)} comparisons with {self.reference}: no drift"
        listed = ", ".join(
            f"{r.feature} {r.test} {r.value:.3g} > {r.threshold:.3g}" for r in self.failed[:5]
        )
        more = f" and {len(self.failed) - 5} more" if len(self.failed) > 5 else ""
        return f"{len(self.failed)} of {len(self.results)} comparisons with {self.reference} failed: {listed}{more}"


class NotComparable(Exception):
    """There is nothing to compare; the message says what is missing."""


class StatisticsMissing(NotComparable):
    """The features are published, their statistics are not yet."""

    def __init__(self, features: Version, statistics: Version | None) -> None:
        super().__init__(
            f"feature_statistics of features {features.data_version} are not published yet"
        )
        # The version that is there instead is part of the key: features that come back, after others
        # had their turn, get their statistics again.
        self.key = f"statistics:{features.data_version}:{statistics.version if statistics else ''}"


def compare_with_model_in_use(platform: Platform, use_case: UseCase) -> Comparison:
    """Compare the published raw and features with the training data of the model in use.

    Raises:
        NotComparable: no model in use, no features, or no statistics of these features yet.
        LakeError: published files that cannot be read.
        RegistryError: a registry that does not answer.
    """
    features, raw, statistics, trained = (
        platform.dataset(use_case.name, asset).current()
        for asset in ("features", "raw", "feature_statistics", "trained_model")
    )
    if features is None or raw is None or trained is None:
        raise NotComparable("no model, or no data to compare with it, is published yet")
    model = model_in_use(platform, use_case)
    if statistics is None or statistics.manifest.upstream.get("features") != features.data_version:
        raise StatisticsMissing(features, statistics)
    try:
        reference = FeatureStatistics.from_dict(model.read_json("statistics.json"))
        current = FeatureStatistics.from_dict(statistics.read_json("statistics.json"))
    except ValueError as error:
        raise NotComparable(str(error)) from error
    return Comparison(
        results=[
            *compare(reference, current, use_case.monitoring),
            replace(
                compare_volume(_ancestor(model, "raw")["rows"], raw.rows, use_case.monitoring),
                feature="raw rows",
            ),
        ],
        compared={
            "raw": raw.data_version,
            "features": features.data_version,
            "model": model.data_version,
        },
        trained_on_these_features=_ancestor(trained, "features")["data_version"]
        == features.data_version,
    )


def model_in_use(platform: Platform, use_case: UseCase) -> Version:
    """The lake's version of the registered champion (the challenger where there is none yet).

    Raises:
        NotComparable: no model is registered, or the lake does not hold it.
        RegistryError: the registry does not answer.
    """
    from pipeline_assets.registry import current_model

    registered = current_model(
        use_case.model_name, tracking_uri=platform.environment.mlflow.tracking_uri
    )
    if registered is None:
        raise NotComparable(f"no model {use_case.model_name!r} is registered yet")
    wanted = registered.data_versions.get("trained_model")
    for version in platform.dataset(use_case.name, "trained_model").versions():
        if version.data_version == wanted:
            return version
    raise NotComparable(
        f"the model in use, {registered.name} version {registered.version} ({registered.alias}), was made "
        f"from trained_model {wanted or '(not recorded)'}, which is not in the lake"
    )


def _ancestor(model: Version, asset: str) -> Mapping[str, Any]:
    return model.manifest.metadata["ancestors"][asset]


def comparison_metadata(comparison: Comparison) -> dict[str, dg.MetadataValue]:
    """What the UI shows of a comparison: every test, the failed ones first."""
    rows = [
        (r.feature, r.test, r.value, r.threshold, r.p_value, "ok" if r.passed else "FAILED")
        for r in sorted(comparison.results, key=lambda r: (r.passed, -r.value / r.threshold))
    ]
    header = ["feature", "test", "value", "threshold", "p", "result"]
    return {
        "comparisons": dg.MetadataValue.md(markdown_table(header, rows)),
        "failed": dg.MetadataValue.int(len(comparison.failed)),
        "reference": dg.MetadataValue.text(comparison.reference),
        "raw": dg.MetadataValue.text(comparison.compared["raw"]),
        "features": dg.MetadataValue.text(comparison.compared["features"]),
    }
