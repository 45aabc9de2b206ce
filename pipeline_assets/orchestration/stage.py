"""What every asset's run has in common: inputs by version, staged output, checks before the pointer, a profile.

What a stage computes is in its domain package; which events it reports is in its own file here.
"""

import errno
import hashlib
import json
import shutil
from collections.abc import Callable, Collection, Generator, Iterable, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import BaseModel

from pipeline_assets.lake import FileEntry, LakeError, StagedVersion, Version
from pipeline_assets.orchestration.metadata import column_schema, profile_metadata
from pipeline_assets.orchestration.resources import Platform
from pipeline_assets.profiling import ProfileInProgress, profile
from pipeline_assets.spec import UseCase

STAGES = (
    "raw",
    "validated",
    "features",
    "feature_statistics",
    "tensor_shards",
    "trained_model",
    "evaluation_report",
    "model_version",
)
"""The assets that a profile shows, in the order of the chain; `rejected` is made with `validated`."""

MAX_RETRIES = 3
FIRST_RETRY_SECONDS = 2
_TRANSIENT_ERRNOS = {
    errno.EAGAIN,
    errno.ECONNRESET,
    errno.ETIMEDOUT,
    errno.ECONNREFUSED,
    errno.EHOSTUNREACH,
}
_TRANSIENT_TEXTS = (
    "database is locked",
    "Connection reset",
    "Too Many Requests",
    "StatusCode.UNAVAILABLE",
)


class MixedInputs(ValueError):
    """Inputs of one asset that do not belong together."""


class GateError(Exception):
    """A blocking check refused the staged version; the published one stays."""


_FOREIGN = (ValueError, OSError, RuntimeError)
"""Errors of libraries that speak of input and surroundings; shown with their stack trace."""


class StageRun:
    """The run of one asset (or of assets that are computed together)."""

    def __init__(
        self,
        context: dg.AssetExecutionContext,
        platform: Platform,
        use_case: UseCase,
        profiler: ProfileInProgress,
    ) -> None:
        self.context = context
        self.platform = platform
        self.use_case = use_case
        self.inputs: dict[str, str] = {}
        """Asset to the data version read."""
        self.ancestors: dict[str, dict[str, Any]] = {}
        """Asset to data version and rows, for the inputs and all that they were made from."""
        self._profiler = profiler
        self._open: list[StagedVersion] = []

    def require(self, asset: str) -> Version:
        """The published version of an upstream asset, noted as an input of what is published here."""
        version = self.platform.dataset(self.use_case.name, asset).require()
        self.note_input(asset, version)
        self.context.log.info(
            f"reading {self.use_case.name}/{asset} {version.data_version}: {version.rows:,} rows"
        )
        return version

    def note_input(self, asset: str, version: Version) -> None:
        """Note a version that this stage reads, and all that it was made from.

        Raises:
            MixedInputs: two inputs were made from different versions of the same asset.
        """
        made_from = version.manifest.metadata.get("ancestors", {})
        own = {"data_version": version.data_version, "rows": version.rows}
        for name, fact in {**made_from, asset: own}.items():
            known = self.ancestors.setdefault(name, fact)
            if known["data_version"] != fact["data_version"]:
                raise MixedInputs(
                    f"{asset} was made from {name} {fact['data_version']}, another input of this asset "
                    f"from {known['data_version']}: materialise everything between {name} and this asset"
                )
        self.inputs[asset] = version.data_version

    def localised(self, version: Version, folder: Path) -> Path:
        """The files of a version on this machine: in place for a local lake, else copied to `folder`."""
        if version.storage.is_local:
            return version.local_path()
        for file in version.manifest.files:
            target = folder / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            with version.open(file.path) as source, target.open("wb") as copy:
                shutil.copyfileobj(source, copy)
        return folder

    def stage(self, asset: str) -> StagedVersion:
        """A place to write the next version of `asset`; discarded unless it is published."""
        staged = self.platform.dataset(self.use_case.name, asset).stage()
        self._open.append(staged)
        return staged

    def seal(
        self,
        staged: StagedVersion,
        *,
        files: list[FileEntry] | None = None,
        rows: int,
        schema: Iterable[tuple[str, str]] = (),
        metadata: Mapping[str, Any],
    ) -> Version:
        """Write the manifest of a staged version. Readers do not see it before `publish`."""
        return staged.seal(
            files=files,
            rows=rows,
            schema=list(schema),
            upstream=dict(self.inputs),
            run_id=self.context.run.run_id,
            metadata={
                **metadata,
                "ancestors": self.ancestors,
                "profile": self._profiler.snapshot().to_dict(),
            },
        )

    def publish(self, staged: StagedVersion, *, protect: Collection[str] = ()) -> Version:
        """Make a sealed version the current one, and let old ones go, but not those in `protect`."""
        version = staged.publish()
        self._open.remove(staged)
        dataset = self.platform.dataset(self.use_case.name, version.manifest.asset)
        dataset.prune(keep=self.use_case.retained_versions, protect=protect)
        return version

    def result(
        self, version: Version, metadata: Mapping[str, Any] | None = None
    ) -> dg.MaterializeResult:
        """The materialisation event of a published version: rows, schema, place, inputs and profile."""
        manifest = version.manifest
        return dg.MaterializeResult(
            asset_key=dg.AssetKey([self.use_case.name, manifest.asset]),
            metadata={
                "dagster/row_count": manifest.rows,
                "dagster/uri": version.uri,
                **(
                    {"dagster/column_schema": column_schema(self.use_case, manifest)}
                    if manifest.schema
                    else {}
                ),
                "bytes": sum(file.bytes for file in manifest.files),
                "inputs": dict(manifest.upstream),
                **profile_metadata(manifest.metadata["profile"]),
                **(metadata or {}),
            },
            data_version=dg.DataVersion(version.data_version),
        )

    def leave_open(self, *, keep: bool) -> None:
        """Drop whatever was staged and not published, or keep it a day for whoever wants to see why."""
        for staged in self._open:
            if keep:
                self.context.log.warning(f"not published, kept for a day: {staged.uri}")
            else:
                try:
                    staged.discard()
                except (LakeError, OSError) as error:
                    # Often the same trouble that made the stage fail, whose message is the one to be read.
                    self.context.log.warning(f"{staged.uri} stays until it is pruned: {error}")


@contextmanager
def stage_run(
    context: dg.AssetExecutionContext,
    platform: Platform,
    use_case: UseCase,
) -> Generator[StageRun, None, None]:
    """Profile a stage, drop what it leaves unpublished, and turn its errors into what Dagster acts on.

    Errors that time can heal are retried with exponential backoff; all others fail at once with the
    domain's own message, because running the same wrong input again only costs time.
    """
    with profile() as profiler:
        run = StageRun(context, platform, use_case, profiler)
        try:
            yield run
        except BaseException as error:
            run.leave_open(keep=isinstance(error, GateError))
            if isinstance(error, dg.Failure | dg.RetryRequested):
                raise
            if is_transient(error):
                raise dg.RetryRequested(
                    max_retries=MAX_RETRIES,
                    seconds_to_wait=FIRST_RETRY_SECONDS * 2**context.retry_number,
                ) from error
            failure = dg.Failure(
                description=f"{type(error).__name__}: {error}", allow_retries=False
            )
            if is_own(error):
                # The sentence is for the person who can mend it; a stack trace would only hide it.
                raise failure from None
            if isinstance(error, _FOREIGN):
                raise failure from error
            raise


def is_own(error: BaseException) -> bool:
    """Whether the error is one of this project's, whose message says what is wrong, where, and what to do."""
    return isinstance(error, Exception) and type(error).__module__.startswith("pipeline_assets.")


def is_transient(error: BaseException) -> bool:
    """Whether waiting may heal the error: lost connections, time-outs, busy stores; never a full disk."""
    if isinstance(error, ConnectionError | TimeoutError):
        return True
    if isinstance(error, OSError) and error.errno in _TRANSIENT_ERRNOS:
        return True
    if any(text in str(error) for text in _TRANSIENT_TEXTS):
        return True
    # The lake and the registry say in their own words what the store said.
    return error.__cause__ is not None and is_transient(error.__cause__)


def require_gate(results: Iterable[dg.AssetCheckResult], blocking: Iterable[str]) -> None:
    """Raise `GateError` if one of the blocking checks failed with severity ERROR."""
    names = set(blocking)
    failed = [
        result
        for result in results
        if result.check_name in names
        and not result.passed
        and result.severity == dg.AssetCheckSeverity.ERROR
    ]
    if failed:
        reasons = "; ".join(f"{result.check_name}: {result.description}" for result in failed)
        raise GateError(f"not published, the version before stays current: {reasons}")


def code_version(*parts: BaseModel | str | int) -> str:
    """Code version of an asset: changes with the parts of the spec that it is computed from."""
    texts = [
        json.dumps(part.model_dump(mode="json"), sort_keys=True)
        if isinstance(part, BaseModel)
        else str(part)
        for part in parts
    ]
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:12]


def stage_asset(
    use_case: UseCase,
    asset: str,
    *,
    stage: str,
    kinds: set[str],
    deps: Iterable[str] = (),
    **options: Any,
) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
    """`dg.asset` with the key, dependencies, owners and tags that all assets of a use case have.

    Args:
        use_case: whose asset it is.
        asset: last part of the key.
        stage: the stage's word, a tag.
        kinds: technologies, shown by the UI.
        deps: upstream assets of the same use case.
        options: further arguments of `dg.asset`.
    """
    decorator: Any = dg.asset(
        key=[use_case.name, asset],
        deps=[[use_case.name, upstream] for upstream in deps],
        **asset_options(use_case, stage, kinds),
        **options,
    )
    return decorator


def asset_options(use_case: UseCase, stage: str, kinds: set[str]) -> dict[str, Any]:
    """Group, owners, tags and kinds that the assets of a use case share.

    The group is the use case, so that two use cases are two pictures in the UI; the stage is a tag.
    """
    return {
        "group_name": use_case.name,
        "owners": use_case.owners,
        "tags": {"use_case": use_case.name, "stage": stage, **use_case.tags},
        "kinds": kinds,
    }
