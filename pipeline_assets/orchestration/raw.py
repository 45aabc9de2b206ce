"""raw: source files, parsed in parallel and kept as written; malformed lines kept verbatim beside them."""

from collections.abc import Iterator

import dagster as dg

from pipeline_assets.orchestration.assets import code_version, stage_asset
from pipeline_assets.orchestration.each_partition import Event, Events, each_partition
from pipeline_assets.orchestration.metadata import preview
from pipeline_assets.orchestration.partitions import data_options
from pipeline_assets.orchestration.resources import Engine, Platform
from pipeline_assets.orchestration.stage import StageRun, told_to_dagster
from pipeline_assets.spec import Source, UseCase
from pipeline_assets.spec.credentials import without_credentials
from pipeline_assets.spec.partitions import naive_timezone, source_uri


def build_raw(
    use_case: UseCase, prefix: str = "", timezone: str | None = None
) -> dg.AssetsDefinition:
    """The `raw` asset of a use case.

    Args:
        use_case: whose source is read.
        prefix: of the asset's name.
        timezone: IANA zone of timestamps without an offset; by default that of the use case's `time`.
    """
    name, zone = f"{prefix}raw", timezone or naive_timezone(use_case)

    @stage_asset(
        use_case,
        name,
        stage="raw",
        kinds={"pyspark", use_case.source.format},
        description=f"Source files of {use_case.name} as they were read: "
        + without_credentials(use_case.source.uri),
        code_version=code_version(
            use_case.source,
            *use_case.contract.names,
            *([] if use_case.time is None and timezone is None else [zone]),
        ),
        **data_options(use_case, of_joined=bool(prefix)),
    )
    def raw(context: dg.AssetExecutionContext, platform: Platform, engine: Engine) -> Events:
        from pipeline_assets.demo_data import ensure_demo_data
        from pipeline_assets.ingest import SourceFile, discover, ingest
        from pipeline_assets.ingest.sources import listing_hash

        source = platform.located(use_case.source)

        def source_of(run: StageRun) -> Source:
            return source.model_copy(update={"uri": source_uri(source.uri, run.key)})

        def look(run: StageRun) -> list[SourceFile] | None:
            if use_case.time is None:
                return None
            files = discover(source_of(run), hashes=False)
            run.inputs["source"] = listing_hash(files)
            return files

        def ingest_partition(run: StageRun) -> Iterator[Event]:
            files = look(run)
            staged = run.stage(name)
            result = ingest(
                engine.session,
                source_of(run),
                use_case.contract,
                staged,
                files=files,
                empty=use_case.time is not None,
                timezone=zone,
            )
            for warning in result.warnings:
                context.log.warning(warning)
            run.seal(
                staged,
                files=result.files,
                rows=result.rows + result.malformed_rows,
                schema=result.columns,
                metadata={
                    "source_files": [file.to_dict() for file in result.source_files],
                    "malformed_rows": result.malformed_rows,
                    "malformed_by_reason": result.malformed_by_reason,
                    "columns": result.columns,
                    "ignored_columns": result.ignored_columns,
                },
            )
            version = run.publish(staged)
            yield run.result(
                version,
                {
                    "source_files": len(result.source_files),
                    "source_bytes": sum(file.bytes for file in result.source_files),
                    "malformed_lines": result.malformed_rows,
                    "malformed_by_reason": result.malformed_by_reason,
                    "ignored_columns": result.ignored_columns,
                    "preview": preview(version),
                },
            )

        with told_to_dagster(context):
            written = ensure_demo_data(source, home=platform.environment.home)
        if written:
            place = without_credentials(source.uri)
            context.log.info(f"no source at {place}: generated {written['rows']:,} rows")
        yield from each_partition(context, platform, use_case, ingest_partition, inputs=look)

    return raw
