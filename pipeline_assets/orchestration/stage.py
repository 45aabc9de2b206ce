"""What every asset's run has in common: inputs by version, staged output, checks before the pointer, a profile.

What a stage computes is in its domain package; which events it reports is in its own file here; how a
range of partitions becomes one run of each is in `each_partition`.
"""

import shutil
from collections.abc import Collection, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg

from pipeline_assets.lake import FileEntry, LakeError, StagedVersion, Version
from pipeline_assets.orchestration.check_results import recorded_checks
from pipeline_assets.orchestration.failures import GateError, raise_for_dagster
from pipeline_assets.orchestration.metadata import (
    column_schema,
    markdown_table,
    profile_metadata,
    shortened,
)
from pipeline_assets.orchestration.resources import Platform
from pipeline_assets.profiling import ProfileInProgress, profile
from pipeline_assets.spec import UseCase
from pipeline_assets.spec.credentials import without_credentials
from pipeline_assets.spec.partitions import history_keys, partition_name

WHOLE = "all"
"""The partition of assets that have none."""


class MixedInputs(ValueError):
    """Inputs of one asset that do not belong together."""


@dataclass
class Neighbours:
    """What the runs of several partitions in one step have in common."""

    read: dict[tuple[str, str], Version | None] = field(default_factory=dict)
    """(asset, partition) to the version that was current when it was first asked for."""


class StageRun:
    """The run of one asset (or of assets that are computed together), for one partition."""

    def __init__(
        self,
        context: dg.AssetExecutionContext,
        platform: Platform,
        use_case: UseCase,
        profiler: ProfileInProgress,
        key: str = WHOLE,
        *,
        among: Neighbours | None = None,
    ) -> None:
        """Begin the run.

        Args:
            context: of the step.
            platform: where versions are.
            use_case: whose asset it is.
            profiler: of the step.
            key: of the partition; `all` for assets that have none.
            among: the partitions that the step makes besides this one.
        """
        self.context = context
        self.platform = platform
        self.use_case = use_case
        self.key = key
        self.partition = partition_name(key)
        """Name of the partition in the lake."""
        self.inputs: dict[str, str] = {}
        """Asset to the data version read."""
        self.whole: set[str] = set()
        """Inputs that have no partitions although this asset has."""
        self.ancestors: dict[str, dict[str, Any]] = {}
        """Asset to data version and rows, for the inputs and all that they were made from."""
        self._profiler = profiler
        self._among = among
        self._open: list[StagedVersion] = []

    def tell(self, message: str) -> None:
        """Log what is of interest where this partition is all that the step makes."""
        if self._among is None:
            self.context.log.info(message)

    def require(self, asset: str, *, whole: bool = False) -> Version:
        """The published version of an upstream asset, noted as an input of what is published here.

        Args:
            asset: upstream.
            whole: it has no partitions, whether or not this asset has.
        """
        partition = WHOLE if whole else self.partition
        version = self._current(asset, partition)
        if version is None:
            version = self.platform.dataset(self.use_case.name, asset).require(partition)
        self.note_input(asset, version)
        if whole:
            self.whole.add(asset)
        self.tell(
            f"reading {self.use_case.name}/{asset} {version.data_version}: {version.rows:,} rows"
        )
        return version

    def history(self, asset: str, count: int) -> dict[str, Version]:
        """The published versions of the `count` partitions before this one, by key, noted as inputs.

        Partitions that have none are left out: before the data begin, and where a day is missing.
        """
        time = self.use_case.time
        found: dict[str, Version] = {}
        for key in history_keys(time, self.key, count) if time is not None else ():
            version = self._current(asset, partition_name(key))
            if version is not None:
                found[key] = version
                self.inputs[f"{asset}@{version.manifest.partition}"] = version.data_version
        return found

    def _current(self, asset: str, partition: str) -> Version | None:
        dataset = self.platform.dataset(self.use_case.name, asset)
        if self._among is None:
            return dataset.current(partition)
        # All partitions of a step see one state of what is upstream, and it is read once.
        read = self._among.read
        if (asset, partition) not in read:
            read[asset, partition] = dataset.current(partition)
        return read[asset, partition]

    def note_input(self, asset: str, version: Version) -> None:
        """Note a version that this stage reads, and all that it was made from.

        Raises:
            MixedInputs: two inputs were made from different versions of the same asset.
        """
        self._note_ancestors(asset, version, "")
        self.inputs[asset] = version.data_version

    def note_partition(self, asset: str, version: Version) -> None:
        """Note a version of one of several partitions that this stage reads, with what it was made from.

        Raises:
            MixedInputs: as `note_input`, for the same partition.
        """
        at = f"@{version.manifest.partition}"
        self._note_ancestors(asset, version, at)
        self.inputs[f"{asset}{at}"] = version.data_version

    def _note_ancestors(self, asset: str, version: Version, at: str) -> None:
        made_from = version.manifest.metadata.get("ancestors", {})
        own = {"data_version": version.data_version, "rows": version.rows}
        for upstream, fact in {**made_from, asset: own}.items():
            name = f"{upstream}{at}"
            known = self.ancestors.setdefault(name, fact)
            if known["data_version"] != fact["data_version"]:
                raise MixedInputs(
                    f"{asset}{at} was made from {name} {fact['data_version']}, another input of this "
                    f"asset from {known['data_version']}: materialise everything between {name} and "
                    "this asset"
                )

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
        staged = self.platform.dataset(self.use_case.name, asset).stage(self.partition)
        self._open.append(staged)
        return staged

    def begin_again(self) -> None:
        """Forget the inputs noted, and drop what was staged."""
        self.inputs.clear()
        self.whole.clear()
        self.ancestors.clear()
        self.leave_open(keep=False)

    def seal(
        self,
        staged: StagedVersion,
        *,
        files: list[FileEntry] | None = None,
        rows: int,
        schema: Iterable[tuple[str, str]] = (),
        metadata: Mapping[str, Any],
        checks: Collection[dg.AssetCheckResult] = (),
    ) -> Version:
        """Write the manifest of a staged version, with the checks that judge it.

        Readers do not see it before `publish`.
        """
        return staged.seal(
            files=files,
            rows=rows,
            schema=list(schema),
            upstream=dict(self.inputs),
            run_id=self.context.run.run_id,
            code_version=self.code_version(staged.asset),
            metadata={
                **metadata,
                **({"checks": recorded_checks(checks)} if checks else {}),
                "ancestors": self.ancestors,
                "profile": self._profiler.snapshot().to_dict(),
            },
        )

    def publish(self, staged: StagedVersion, *, protect: Collection[str] = ()) -> Version:
        """Make a sealed version the current one, and let old ones go, but not those in `protect`."""
        version = staged.publish()
        self._open.remove(staged)
        dataset = self.platform.dataset(self.use_case.name, version.manifest.asset)
        dataset.prune(
            keep=self.use_case.retained_versions, protect=protect, partitions=[self.partition]
        )
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
                "dagster/uri": without_credentials(version.uri),
                **(
                    {"dagster/column_schema": column_schema(self.use_case, manifest)}
                    if manifest.schema
                    else {}
                ),
                "bytes": sum(file.bytes for file in manifest.files),
                "inputs": dg.MetadataValue.md(
                    markdown_table(["asset", "version"], sorted(manifest.upstream.items()))
                ),
                **profile_metadata(manifest.metadata["profile"]),
                **{name: shortened(value) for name, value in (metadata or {}).items()},
            },
            data_version=dg.DataVersion(version.data_version),
        )

    def code_version(self, asset: str) -> str:
        """What the asset declares; empty where it declares none."""
        spec = self.context.assets_def.specs_by_key[dg.AssetKey([self.use_case.name, asset])]
        return spec.code_version or ""

    def leave_open(self, *, keep: bool) -> None:
        """Drop whatever was staged and not published, or keep it a day for whoever wants to see why."""
        for staged in self._open:
            place = without_credentials(staged.uri)
            if keep:
                self.context.log.warning(f"not published, kept for a day: {place}")
            else:
                try:
                    staged.discard()
                except (LakeError, OSError) as error:
                    # Often the same trouble that made the stage fail, whose message is the one to be read.
                    self.context.log.warning(f"{place} stays until it is pruned: {error}")
        self._open.clear()


@contextmanager
def stage_run(
    context: dg.AssetExecutionContext,
    platform: Platform,
    use_case: UseCase,
    key: str = WHOLE,
) -> Generator[StageRun, None, None]:
    """Profile a stage, drop what it leaves unpublished, and turn its errors into what Dagster acts on."""
    with told_to_dagster(context), profile() as profiler:
        run = StageRun(context, platform, use_case, profiler, key)
        try:
            yield run
        except BaseException as error:
            run.leave_open(keep=isinstance(error, GateError))
            raise


@contextmanager
def told_to_dagster(context: dg.AssetExecutionContext) -> Generator[None]:
    """Turn errors of the block into what Dagster acts on."""
    try:
        yield
    except BaseException as error:
        raise_for_dagster(error, retry_number=context.retry_number)
        raise
