"""run_profile: the stages of the last run side by side, and where the time went."""

import dagster as dg

from pipeline_assets.orchestration.assets import STAGES, stage_asset
from pipeline_assets.orchestration.metadata import markdown_table
from pipeline_assets.orchestration.resources import Platform
from pipeline_assets.orchestration.stage import stage_run
from pipeline_assets.profiling import Profile, bottleneck, stage_table
from pipeline_assets.spec import UseCase


def build_run_profile(use_case: UseCase) -> dg.AssetsDefinition:
    """The `run_profile` asset."""

    @stage_asset(
        use_case,
        "run_profile",
        stage="profiling",
        kinds={"json"},
        deps=["model_version"],
        description="Wall and CPU time, memory and traffic of each stage, and the top bottleneck.",
    )
    def run_profile(context: dg.AssetExecutionContext, platform: Platform) -> dg.MaterializeResult:
        with stage_run(context, platform, use_case) as run:
            profiles: dict[str, Profile] = {}
            for asset in STAGES:
                version = platform.dataset(use_case.name, asset).current()
                if version is not None:
                    run.inputs[asset] = version.data_version
                    profiles[asset] = Profile.from_dict(version.manifest.metadata["profile"])
            top = bottleneck(profiles)
            if top is None:
                raise ValueError(f"no stage of {use_case.name} is published yet")
            slowest = f"{top.stage}: {top.share:.0%} of the wall time; {top.reason}"
            context.log.info(f"stages\n{stage_table(profiles)}")
            staged = run.stage("run_profile")
            staged.write_json(
                "profile.json",
                {
                    "stages": {name: item.to_dict() for name, item in profiles.items()},
                    "bottleneck": top.to_dict(),
                },
            )
            run.seal(staged, rows=len(profiles), metadata={"bottleneck": slowest})
            version = run.publish(staged)
            return run.result(
                version,
                {
                    "bottleneck": slowest,
                    "stages": dg.MetadataValue.md(
                        markdown_table(
                            ["stage", *next(iter(profiles.values())).to_dict()],
                            [(name, *item.to_dict().values()) for name, item in profiles.items()],
                        )
                    ),
                },
            )

    return run_profile
