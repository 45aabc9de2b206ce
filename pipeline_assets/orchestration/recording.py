"""What Dagster is told about each partition of a run over a range of them.

For such a run Dagster itself would record one data version and one provenance for all partitions. Its
staleness follows the last event of a partition: the events built here carry the partition's own data
version and what that was made from, in the tags that Dagster would have written had the partition been
made alone.
"""

import hashlib
from collections.abc import Mapping

import dagster as dg
from dagster._core.definitions.data_version import (
    CODE_VERSION_TAG,
    DATA_VERSION_IS_USER_PROVIDED_TAG,
    DATA_VERSION_TAG,
    NULL_EVENT_POINTER,
    get_input_data_version_tag,
    get_input_event_pointer_tag,
)
from dagster._core.definitions.source_asset import SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION

from pipeline_assets.orchestration.stage import StageRun


def upstream_pointers(context: dg.AssetExecutionContext) -> dict[dg.AssetKey, str]:
    """The newest event of each upstream asset, as Dagster's tags point to it; taken before its data are read.

    Dagster calls a partition stale when one that it depends on has another data version than it had
    at that event.
    """
    keys = list({dep.asset_key for spec in context.assets_def.specs for dep in spec.deps})
    pointers = dict.fromkeys(keys, NULL_EVENT_POINTER)
    for record in context.instance.get_asset_records(keys):
        entry = record.asset_entry
        if entry.last_materialization_record is not None:
            pointers[entry.asset_key] = str(entry.last_materialization_record.storage_id)
    return pointers


def without_events_of_its_own(key: dg.AssetKey) -> dg.MaterializeResult:
    """The result of an asset over a range, which makes Dagster record no event for its partitions.

    Each would have the one data version and provenance of all, and would cost as much as the right one
    that follows. Should Dagster record them nevertheless, those that follow are the last word.
    """
    return dg.MaterializeResult(
        asset_key=key, metadata={SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION: True}
    )


def partition_materialisation(
    context: dg.AssetExecutionContext,
    run: StageRun,
    result: dg.MaterializeResult,
    pointers: Mapping[dg.AssetKey, str],
) -> dg.AssetMaterialization:
    """The event of one partition: `result` with the tags that Dagster's staleness goes by."""
    key, version = result.asset_key, result.data_version
    if key is None or version is None:
        raise ValueError(f"the result of partition {run.key} lacks its asset or data version")
    tags = {
        DATA_VERSION_TAG: version.value,
        DATA_VERSION_IS_USER_PROVIDED_TAG: "true",
        CODE_VERSION_TAG: run.code_version(key.path[-1]) or context.run.run_id,
    }
    for dep in context.assets_def.specs_by_key[key].deps:
        upstream = dep.asset_key
        tags[get_input_data_version_tag(upstream)] = _hash_of(run, upstream.path[-1])
        tags[get_input_event_pointer_tag(upstream)] = pointers[upstream]
    return dg.AssetMaterialization(
        asset_key=key, partition=run.key, metadata=result.metadata, tags=tags
    )


def _hash_of(run: StageRun, asset: str) -> str:
    """Dagster's hash of the data versions of the upstream partitions, in order of their keys.

    Of an asset without partitions it is the data version itself.
    """
    if asset in run.whole:
        return run.inputs[asset]
    versions = {
        name.partition("@")[2] or run.partition: version
        for name, version in run.inputs.items()
        if name.partition("@")[0] == asset
    }
    joined = "".join(versions[partition] for partition in sorted(versions))
    return hashlib.sha256(joined.encode()).hexdigest()
