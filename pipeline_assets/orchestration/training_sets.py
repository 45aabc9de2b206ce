"""What the model assets read: one version for all, or the partitions of a training date.

In a use case with `time_split` the model assets are partitioned by training date; which data partitions
belong to a date is in `spec.training_dates`.
"""

import datetime as dt
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg

from pipeline_assets.lake import Version
from pipeline_assets.orchestration.partitions import data_partitions, training_dates
from pipeline_assets.orchestration.stage import WHOLE, StageRun
from pipeline_assets.shards import CacheSettings, PartitionShards, compose_index, refer_to_index
from pipeline_assets.spec import UseCase
from pipeline_assets.spec.partitions import partition_keys, partition_name
from pipeline_assets.spec.training_dates import (
    dealt_partitions,
    require_published,
    training_partitions,
)

FITTED = ("train", "validation")
"""What a model is fitted on."""
ALL = ("train", "validation", "test")

_DAY = dt.timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Versions of the partitions of a training set, by role and key, in order of time."""

    asset: str
    versions: Mapping[str, Mapping[str, Version]]

    @property
    def by_role(self) -> dict[str, list[Version]]:
        """Role to versions."""
        return {role: list(of.values()) for role, of in self.versions.items()}


def model_options(use_case: UseCase) -> dict[str, Any]:
    """Options of a model asset: its training dates, each a run of its own; none without `time_split`."""
    dates = training_dates(use_case)
    if dates is None:
        return {}
    return {"partitions_def": dates, "backfill_policy": dg.BackfillPolicy.multi_run(1)}


def model_code(use_case: UseCase) -> list[Any]:
    """What a training set depends on besides its data: parts of the code versions of what reads it."""
    if use_case.time is None:
        return []
    cut = {"partition", "timezone", "label_delay"}
    return [use_case.time.model_dump_json(include=cut), use_case.time_split or use_case.split]


def model_key(context: dg.AssetExecutionContext, use_case: UseCase) -> str:
    """The training date of the step; `all` in a use case without."""
    return WHOLE if use_case.time_split is None else context.partition_key


def published_dates(run: StageRun, asset: str) -> list[str]:
    """The training dates of a model asset that are published, in order; none without `time_split`."""
    return _published(run, asset, training_dates(run.use_case))


def training_set_dep(use_case: UseCase, upstream: str, roles: Sequence[str]) -> dg.AssetDep:
    """A dependency of each training date on the data partitions of these roles.

    Dagster counts offsets in steps of the training dates, so a week's date depends on whole weeks: where
    the periods are no whole weeks, a few partitions more than are read.
    """
    key = [use_case.name, upstream]
    time, split = use_case.time, use_case.time_split
    if time is None or split is None:
        return dg.AssetDep(key)
    step = 7 if split.every == "weekly" else 1
    # Where clocks change, known labels may end a partition earlier.
    slack = 0 if time.timezone == "UTC" else 1
    before = _days(time.label_delay + split.validation + split.gap + split.train) + slack
    start = -(-before // step)
    after = _days(split.test) if "test" in roles else -(time.label_delay.days)
    end = -(-after // step) - 1
    mapping = dg.TimeWindowPartitionMapping(start_offset=-start, end_offset=end)
    return dg.AssetDep(key, partition_mapping=mapping)


def read_parts(run: StageRun, asset: str, roles: Sequence[str]) -> Parts:
    """The published partitions of a training set, noted as inputs.

    Raises:
        TrainingDateError: the training date lies outside the data, or partitions are missing (named).
    """
    keys = _keys_of(run)
    return _read(run, asset, {role: keys[role] for role in roles})


def read_from_training_on(run: StageRun, asset: str) -> Parts:
    """All published partitions from the first of training to the last of test, with those between them.

    Raises:
        TrainingDateError: as `read_parts`.
    """
    time, keys = run.use_case.time, _keys_of(run)
    assert time is not None
    used = {key for own in keys.values() for key in own}
    every = partition_keys(time, keys["train"][0], keys["test"][-1])
    between = tuple(key for key in every if key not in used)
    return _read(run, asset, {**keys, "between": between})


def training_shards(run: StageRun, folder: Path, roles: Sequence[str]) -> Path:
    """A local folder of shards with these splits, noted as input: the published one, or a composed one.

    Shards of a lake on an object store are not copied: the folder says where they are, and each node
    that reads it downloads them once, to its cache.

    Args:
        run: of the asset that reads them.
        folder: for the composed index; need not exist.
        roles: splits that are needed.
    """
    cache = _cache(run)
    if run.use_case.time is None:
        version = run.require("tensor_shards")
        if version.storage.is_local:
            return version.local_path()
        refer_to_index(folder, version.uri, version.storage_options, cache=cache)
        return folder
    parts = read_parts(run, "tensor_shards", roles)
    compose_index(
        folder / "training_set",
        {
            role: [
                PartitionShards(
                    partition_name(key),
                    version.local_path() if version.storage.is_local else version.uri,
                    version.storage_options,
                )
                for key, version in of.items()
            ]
            for role, of in parts.versions.items()
        },
        cache=cache,
    )
    return folder / "training_set"


def _cache(run: StageRun) -> CacheSettings:
    """The cache that the environment names, on every node."""
    environment = run.platform.environment
    folder, gib = environment.shard_cache.folder, environment.shard_cache.max_gib
    return CacheSettings(
        folder=None if folder is None else str(environment.resolve(folder)),
        max_bytes=None if gib is None else int(gib * 2**30),
    )


def combined_versions(ancestors: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Asset to data version; to one of all its partitions together, where it has several.

    >>> combined_versions({"raw": {"data_version": "1f"}})
    {'raw': '1f'}
    """
    found: dict[str, list[tuple[str, str]]] = {}
    for name, fact in ancestors.items():
        asset, _, partition = name.partition("@")
        found.setdefault(asset, []).append((partition, fact["data_version"]))
    return {
        asset: versions[0][1]
        if len(versions) == 1
        else hashlib.sha256(repr(sorted(versions)).encode()).hexdigest()[:16]
        for asset, versions in found.items()
    }


def _keys_of(run: StageRun) -> dict[str, tuple[str, ...]]:
    use_case = run.use_case
    if use_case.time_split is not None:
        return training_partitions(use_case, run.key).roles
    # The features say which partitions there are: every asset of the model deals the same ones.
    return dealt_partitions(use_case, _published(run, "features", data_partitions(use_case)))


def _published(
    run: StageRun, asset: str, partitions: dg.TimeWindowPartitionsDefinition | None
) -> list[str]:
    """Keys in order of time. The lake keeps what was made before the use case had these partitions."""
    if partitions is None:
        return []
    names = set(run.platform.dataset(run.use_case.name, asset).partitions())
    return [key for key in partitions.get_partition_keys() if partition_name(key) in names]


def _read(run: StageRun, asset: str, keys: Mapping[str, Sequence[str]]) -> Parts:
    use_case = run.use_case
    dataset = run.platform.dataset(use_case.name, asset)
    found = {key: dataset.current(partition_name(key)) for own in keys.values() for key in own}
    versions = {key: version for key, version in found.items() if version is not None}
    of = "the model" if use_case.time_split is None else f"training date {run.key}"
    require_published(use_case, keys, versions, of=of, asset=asset)
    for version in versions.values():
        run.note_partition(asset, version)
    counts = ", ".join(
        f"{sum(versions[key].rows for key in own):,} {role} rows of {len(own)} partitions"
        for role, own in keys.items()
    )
    run.tell(f"reading {use_case.name}/{asset}: {counts}")
    return Parts(
        asset=asset,
        versions={role: {key: versions[key] for key in own} for role, own in keys.items()},
    )


def _days(length: dt.timedelta) -> int:
    """Whole days that a period touches."""
    return -(-length // _DAY)
