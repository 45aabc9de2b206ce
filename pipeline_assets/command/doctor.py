# ruff: noqa: T201 (the terminal is what this module writes to)
"""`pipeline_assets check`: is this machine ready for a run? The checks themselves are in `checkup`."""

from collections.abc import Iterator
from pathlib import Path

from pipeline_assets.command import checkup
from pipeline_assets.command.checkup import Finding
from pipeline_assets.command.published import open_lake
from pipeline_assets.command.use_cases import use_case_files
from pipeline_assets.environments import load_environment
from pipeline_assets.features.use_cases import load_checked_use_case
from pipeline_assets.spec import UseCase
from pipeline_assets.spec.loader import SpecError


def check() -> int:
    """Print a line per check; exit status 1 if one failed.

    Raises:
        InvalidEnvironment: the environment file has mistakes.
    """
    failed = 0
    for finding in findings():
        print(f"{finding.verdict:<4}  {finding.name:<16}  {finding.found}", flush=True)
        if finding.hint:
            print(f"{'':<4}  {'':<16}  -> {finding.hint}")
        failed += finding.verdict == "fail"
    print(f"\n{failed} failed" if failed else "\nready: `pipeline_assets run <use_case>`")
    return 1 if failed else 0


def findings() -> Iterator[Finding]:
    """All checks, the quick ones first."""
    environment = load_environment()
    yield Finding(
        name="environment",
        verdict="ok",
        found=f"{environment.name} (PIPELINE_ENV), home {environment.home} (PIPELINE_HOME)",
    )
    yield checkup.check_python()
    yield checkup.check_packages(Path(__file__).parents[2] / "requirements.lock")
    yield checkup.check_disk(environment)
    yield checkup.check_lake(open_lake(environment))
    use_cases: dict[str, UseCase] = {}
    for name, file in use_case_files().items():
        try:
            use_cases[name] = load_checked_use_case(file)
            yield Finding(name=f"use case {name}", verdict="ok", found=str(file))
        except SpecError as error:
            yield Finding(
                name=f"use case {name}",
                verdict="fail",
                found=str(error).splitlines()[0],
                hint=f"`dg check yaml {file.parent}` lists all of its mistakes",
            )
    yield from checkup.check_sources(use_cases, environment)
    yield checkup.check_java(environment)
    yield checkup.check_engine(environment)
    yield checkup.check_mlflow(environment)
    yield checkup.check_torch(environment)
