"""Monitoring: each new version against the statistics of the model in use; a new failure asks for one retraining.

The sensor and the checks run by hand share `comparison`. What drift is, is in the package `monitoring`.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import dagster as dg

from pipeline_assets.lake import LakeError
from pipeline_assets.orchestration.assets import code_version
from pipeline_assets.orchestration.comparison import (
    Comparison,
    NotComparable,
    StatisticsMissing,
    compare_with_model_in_use,
    comparison_metadata,
)
from pipeline_assets.orchestration.resources import Platform
from pipeline_assets.registry.store import RegistryError, store_state
from pipeline_assets.spec import UseCase

FEATURES_CHECK = "like_the_training_data"
MODEL_CHECK = "trained_on_data_like_todays"
CHECKS = (("features", FEATURES_CHECK), ("trained_model", MODEL_CHECK))
RETRAIN_REASON_TAG = "pipeline_assets/retrain_reason"
_COMPARED_AFTER = {
    FEATURES_CHECK: ["feature_statistics"],
    MODEL_CHECK: ["feature_statistics", "model_version"],
}
"""What a run that makes these as well makes before the check: else the check would see the state in between."""
_LOOKED_AT = ("raw", "features", "feature_statistics", "trained_model", "model_version")
_UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


@dataclass(frozen=True, kw_only=True)
class Seen:
    """The sensor's cursor: what it has seen and asked for."""

    published: Mapping[str, str | None]
    """Everything that a comparison depends on, when it was last made."""
    compared: Mapping[str, str]
    """What was compared then."""
    retraining: Mapping[str, str] | None = None
    """The comparison for which retraining was requested; None while the data are like the model's."""
    requests: int = 0
    """Retrainings requested so far: part of the run key, because Dagster runs a key only once."""
    statistics: str | None = None
    """Run key of the last request for statistics."""

    @classmethod
    def parse(cls, cursor: str | None) -> "Seen":
        """The cursor; anything that is not one of this class counts as none."""
        try:
            return cls(**json.loads(cursor or "{}"))
        except (ValueError, TypeError):
            return cls(published={}, compared={})

    def asks_for_retraining(self, comparison: Comparison) -> bool:
        """Whether this is a new failure, and one that retraining can mend.

        A failure is new unless a retraining was requested and the data have not passed since. After a
        retraining, data that moved on again are a new failure, too.
        """
        if not comparison.failed or comparison.trained_on_these_features:
            return False
        return self.retraining is None or all(
            self.retraining[name] != comparison.compared[name] for name in ("features", "model")
        )

    def text(self) -> str:
        """As a cursor."""
        return json.dumps(asdict(self))


def build_drift_checks(use_case: UseCase) -> list[dg.AssetChecksDefinition]:
    """The monitoring checks, to be run by hand or with their asset; they never block."""
    checks = []
    for asset, name in CHECKS:

        @dg.asset_check(
            asset=dg.AssetKey([use_case.name, asset]),
            name=name,
            additional_deps=[[use_case.name, other] for other in _COMPARED_AFTER[name]],
            description="KS, PSI, chi-square, missing share and volume against the model in use.",
        )
        def drift(platform: Platform) -> dg.AssetCheckResult:
            try:
                comparison = compare_with_model_in_use(platform, use_case)
            except StatisticsMissing as reason:
                # Not known is not passed: it would hide what the sensor found before.
                return dg.AssetCheckResult(
                    passed=False,
                    severity=dg.AssetCheckSeverity.WARN,
                    description=f"not compared: {reason}; the sensor asks for them",
                )
            except NotComparable as reason:
                return dg.AssetCheckResult(passed=True, description=f"not compared: {reason}")
            except (LakeError, RegistryError) as error:
                raise dg.Failure(description=str(error), allow_retries=False) from error
            return dg.AssetCheckResult(
                passed=not comparison.failed,
                severity=dg.AssetCheckSeverity.ERROR,
                description=comparison.summary,
                metadata=comparison_metadata(comparison),
            )

        checks.append(drift)
    return checks


def build_monitoring_sensor(
    use_case: UseCase,
    retrain: Any,
    statistics: Any,
) -> dg.SensorDefinition:
    """Looks at every newly published version of raw and features, and at a change of the model in use.

    A change from passing to failing requests one retraining; while it keeps failing, no further one.
    A tick that is repeated with the same cursor makes the same run keys, and requests nothing twice.
    """

    @dg.sensor(
        name=f"{use_case.name}_monitoring",
        jobs=[retrain, statistics],
        minimum_interval_seconds=use_case.monitoring.sensor_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Compares new versions with the training data of the model in use; asks for retraining.",
    )
    def monitoring(
        context: dg.SensorEvaluationContext, platform: Platform
    ) -> dg.SensorResult | dg.SkipReason:
        seen = Seen.parse(context.cursor)
        try:
            published = _published(platform, use_case)
            if published["registry"] is not None and published == seen.published:
                return dg.SkipReason("nothing new was published")
            unfinished = _unfinished_run(context.instance, use_case)
            if unfinished is not None:
                return dg.SkipReason(f"run {unfinished} of this use case is in progress")
            comparison = compare_with_model_in_use(platform, use_case)
        except StatisticsMissing as missing:
            if missing.key == seen.statistics:
                return dg.SkipReason(f"{missing}; they were requested once, materialise them")
            return dg.SensorResult(
                run_requests=[_request(missing.key, statistics, use_case)],
                cursor=replace(seen, statistics=missing.key).text(),
            )
        except (NotComparable, LakeError, RegistryError, OSError) as reason:
            return dg.SkipReason(str(reason))
        same_settings = published["settings"] == seen.published.get("settings")
        seen = replace(seen, published=published)
        if same_settings and comparison.compared == seen.compared:
            return dg.SensorResult(
                skip_reason="nothing new to compare: the same data and model", cursor=seen.text()
            )
        requests = []
        if not comparison.failed:
            seen = replace(seen, retraining=None)
        elif use_case.monitoring.retrain and seen.asks_for_retraining(comparison):
            seen = replace(seen, retraining=comparison.compared, requests=seen.requests + 1)
            key = f"retrain:{seen.requests}:{comparison.compared['features']}:{comparison.compared['model']}"
            tags = {RETRAIN_REASON_TAG: comparison.summary[:500]}
            requests.append(_request(key, retrain, use_case, tags))
        return dg.SensorResult(
            asset_events=[
                dg.AssetCheckEvaluation(
                    asset_key=dg.AssetKey([use_case.name, asset]),
                    check_name=name,
                    passed=not comparison.failed,
                    severity=dg.AssetCheckSeverity.ERROR,
                    description=comparison.summary,
                    metadata=comparison_metadata(comparison),
                )
                for asset, name in CHECKS
            ],
            run_requests=requests,
            cursor=replace(seen, compared=comparison.compared).text(),
        )

    return monitoring


def _request(
    key: str, job: Any, use_case: UseCase, tags: Mapping[str, str] | None = None
) -> dg.RunRequest:
    return dg.RunRequest(
        run_key=key, job_name=job.name, tags={"use_case": use_case.name, **(tags or {})}
    )


def _published(platform: Platform, use_case: UseCase) -> dict[str, str | None]:
    """Everything that a comparison depends on, found without MLflow where the registry is a local file."""
    found: dict[str, str | None] = {
        "settings": code_version(use_case.monitoring),
        "registry": store_state(platform.environment.mlflow.tracking_uri),
    }
    for asset in _LOOKED_AT:
        version = platform.dataset(use_case.name, asset).current()
        found[asset] = f"{version.version} {version.data_version}" if version else None
    return found


def _unfinished_run(instance: dg.DagsterInstance, use_case: UseCase) -> str | None:
    """A run that may still publish something of this use case.

    Runs of its jobs carry its tag; those of assets picked by hand are known by the assets.
    """
    for record in instance.get_run_records(dg.RunsFilter(statuses=_UNFINISHED)):
        run = record.dagster_run
        tag = run.tags.get("use_case")
        picked = run.asset_selection
        if tag == use_case.name:
            return run.run_id
        if tag is None and picked is None and run.job_name.startswith("__ASSET_JOB"):
            return run.run_id  # all assets of the code location
        if tag is None and picked and any(key.path[0] == use_case.name for key in picked):
            return run.run_id
    return None
