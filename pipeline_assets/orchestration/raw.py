"""raw: source files, parsed in parallel and kept as written; malformed lines kept verbatim beside them."""

import dagster as dg

from pipeline_assets.orchestration.assets import code_version, stage_asset
from pipeline_assets.orchestration.metadata import preview
from pipeline_assets.orchestration.resources import Engine, Platform
from pipeline_assets.orchestration.stage import stage_run
from pipeline_assets.spec import UseCase
from pipeline_assets.spec.credentials import without_credentials


def build_raw(use_case: UseCase) -> dg.AssetsDefinition:
    """The `raw` asset of a use case."""

    @stage_asset(
        use_case,
        "raw",
        stage="raw",
        kinds={"pyspark", use_case.source.format},
        description=f"Source files of {use_case.name} as they were read: "
        + without_credentials(use_case.source.uri),
        code_version=code_version(use_case.source, *use_case.contract.names),
    )
    def raw(
        context: dg.AssetExecutionContext, platform: Platform, engine: Engine
    ) -> dg.MaterializeResult:
        from pipeline_assets.demo_data import ensure_demo_data
        from pipeline_assets.ingest import ingest

        with stage_run(context, platform, use_case) as run:
            source = platform.located(use_case.source)
            written = ensure_demo_data(source, home=platform.environment.home)
            if written:
                place = without_credentials(source.uri)
                context.log.info(f"no source at {place}: generated {written['rows']:,} rows")
            staged = run.stage("raw")
            result = ingest(engine.session, source, use_case.contract, staged)
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
            return run.result(
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

    return raw
