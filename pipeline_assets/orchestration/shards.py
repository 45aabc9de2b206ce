"""tensor_shards: features as safetensors, checked row for row against the features before they are published."""

from collections.abc import Iterator

import dagster as dg

from pipeline_assets.orchestration.assets import code_version, stage_asset
from pipeline_assets.orchestration.each_partition import Event, Events, each_partition
from pipeline_assets.orchestration.failures import require_gate
from pipeline_assets.orchestration.partitions import data_options
from pipeline_assets.orchestration.resources import Engine, Platform
from pipeline_assets.orchestration.stage import StageRun
from pipeline_assets.spec import UseCase

SAME_ROWS = "same_rows_as_features"


def build_tensor_shards(use_case: UseCase) -> dg.AssetsDefinition:
    """The `tensor_shards` asset."""
    key = dg.AssetKey([use_case.name, "tensor_shards"])

    @stage_asset(
        use_case,
        "tensor_shards",
        stage="shards",
        kinds={"pyspark", "safetensors"},
        deps=["features"],
        description="Features, label and row ids per split as memory-mapped safetensors.",
        code_version=code_version(use_case.features),
        check_specs=[dg.AssetCheckSpec(SAME_ROWS, asset=key, blocking=True)],
        **data_options(use_case),
    )
    def tensor_shards(
        context: dg.AssetExecutionContext, platform: Platform, engine: Engine
    ) -> Events:
        from pipeline_assets.engine import bucket_count, read_version
        from pipeline_assets.features.fingerprint import row_fingerprints
        from pipeline_assets.shards.writer import write_shards

        def shard_partition(run: StageRun) -> Iterator[Event]:
            features = run.require("features")
            staged = run.stage("tensor_shards")
            index = write_shards(
                read_version(engine.session, features),
                numeric=use_case.features.numeric_names,
                categorical=[feature.name for feature in use_case.features.categorical],
                staged=staged,
                buckets=bucket_count(features.rows, least=2 if use_case.time is None else 1),
                undivided=use_case.time is not None,
            )
            split_rows, sums = index.split_rows, index.row_id_sums
            found = {
                split: {"rows": rows, "row_id_sum": sums[split]}
                for split, rows in split_rows.items()
                if rows
            }
            expected = row_fingerprints(engine.session, features)
            check = dg.AssetCheckResult(
                asset_key=key,
                check_name=SAME_ROWS,
                passed=found == expected,
                description="row counts and row-id hashes per split equal those of features"
                if found == expected
                else f"features {expected}, shards {found}",
                metadata={
                    "features": dg.MetadataValue.json(expected),
                    "shards": dg.MetadataValue.json(found),
                },
            )
            run.seal(
                staged,
                rows=sum(split_rows.values()),
                metadata={"split_rows": split_rows, "shards": len(index.shards)},
                checks=[check],
            )
            yield check
            require_gate([check], {SAME_ROWS})
            version = run.publish(staged)
            yield run.result(
                version,
                {
                    **{f"rows_{split}": rows for split, rows in split_rows.items()},
                    "shards": len(index.shards),
                },
            )

        yield from each_partition(
            context,
            platform,
            use_case,
            shard_partition,
            inputs=lambda run: run.require("features"),
        )

    return tensor_shards
