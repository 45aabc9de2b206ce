"""The lake and its datasets: where to find, stage and prune versions of an asset."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pipeline_assets.lake.errors import LakeError
from pipeline_assets.lake.pointer import PartitionFolder
from pipeline_assets.lake.staging import StagedVersion
from pipeline_assets.lake.storage import Storage, check_name
from pipeline_assets.lake.version import Version


class Lake:
    """All published data below one URI: `{uri}/{use_case}/{asset}/{partition}/…`."""

    def __init__(self, uri: str, storage_options: dict[str, Any] | None = None) -> None:
        """Open a lake, which need not exist yet.

        Args:
            uri: A local path or any fsspec URI.
            storage_options: Options of the fsspec file system. Secrets come from the environment.
        """
        self.storage = Storage(uri, storage_options)

    @property
    def uri(self) -> str:
        """Root folder; `file:///…` for local ones."""
        return self.storage.uri

    def dataset(self, use_case: str, asset: str) -> "Dataset":
        """Return the dataset of an asset, published or not. Raises `LakeError` for unusable names."""
        return Dataset(
            lake=self, use_case=check_name("use case", use_case), asset=check_name("asset", asset)
        )

    def datasets(self) -> list["Dataset"]:
        """Return all datasets that have a folder, by use case and asset."""
        return [
            self.dataset(use_case, asset)
            for use_case in self.storage.folders()
            for asset in self.storage.folders(use_case)
        ]


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """The versions of one asset of one use case."""

    lake: Lake
    use_case: str
    asset: str

    def stage(self, partition: str = "all") -> StagedVersion:
        """Begin a new version. Nothing of it is visible before `publish`."""
        return StagedVersion(self._folder(partition))

    def current(self, partition: str = "all") -> Version | None:
        """Return the current version, None before the first publication."""
        return self._folder(partition).current()

    def require(self, partition: str = "all") -> Version:
        """Return the current version. Raises `LakeError` that says what to materialise."""
        version = self.current(partition)
        if version is None:
            of = "" if partition == "all" else f", partition {partition}"
            raise LakeError(
                f"{self.use_case}/{self.asset}{of} has no published version in {self.lake.uri}; "
                f"materialise the asset {self.asset} of {self.use_case} first"
            )
        return version

    def versions(self, partition: str = "all") -> list[Version]:
        """Return the published versions that are still there, the newest publication first."""
        return self._folder(partition).versions()

    def partitions(self) -> list[str]:
        """Return the partitions with a published version, sorted."""
        names = self.lake.storage.folders(f"{self.use_case}/{self.asset}")
        return [name for name in names if self._folder(name).current() is not None]

    def prune(
        self,
        keep: int,
        *,
        protect: Collection[str] = (),
        partitions: Collection[str] | None = None,
        now: datetime | None = None,
    ) -> list[str]:
        """Remove versions beyond the `keep` newest of each of the partitions (all by default), and
        abandoned staging.

        The current version always stays; so do those whose data version is in `protect`, and staging
        that changed within the last day before `now` (the clock by default).

        Returns:
            Identifiers of the removed versions.
        """
        names = (
            self.lake.storage.folders(f"{self.use_case}/{self.asset}")
            if partitions is None
            else partitions
        )
        return [
            version for name in names for version in self._folder(name).prune(keep, protect, now)
        ]

    def _folder(self, partition: str) -> PartitionFolder:
        storage = self.lake.storage.below(self.use_case, self.asset, partition)
        return PartitionFolder(storage, self.use_case, self.asset, partition)
