# ruff: noqa: T201 (the terminal is what this module writes to)
"""`pipeline_assets verify`: hashes every file of every published version again."""

from pipeline_assets.command.errors import CommandError
from pipeline_assets.command.published import open_lake
from pipeline_assets.command.table import place
from pipeline_assets.lake import FileProblem, Lake, LakeError, Version
from pipeline_assets.lake.pointer import RESERVED


def verify(use_case: str | None = None, lake: Lake | None = None) -> int:
    """Print every file that is missing, changed or not listed; exit status 1 if there is any.

    Raises:
        CommandError: nothing is published (under that name).
    """
    lake = lake or open_lake()
    datasets = [item for item in lake.datasets() if use_case in (None, item.use_case)]
    if not datasets:
        known = sorted({item.use_case for item in lake.datasets()})
        raise CommandError(
            f"nothing is published{f' for {use_case!r}' if use_case else ''} in {place(lake.uri)}; "
            + (f"known: {', '.join(known)}" if known else "run `pipeline_assets run churn` first")
        )
    versions = files = size = 0
    problems: list[FileProblem] = []
    for dataset in datasets:
        for partition in lake.storage.folders(f"{dataset.use_case}/{dataset.asset}"):
            try:
                found = dataset.versions(partition)
            except LakeError as error:
                uri = lake.storage.path(f"{dataset.use_case}/{dataset.asset}/{partition}")
                problems.append(FileProblem(path=uri, message=str(error)))
                continue
            for version in found:
                versions += 1
                files += len(version.manifest.files)
                size += version.manifest.total_bytes
                problems += [*version.verify(), *unlisted(version)]
    for problem in problems:
        print(f"{place(problem.path)}: {problem.message}")
    verdict = f"{len(problems)} problems" if problems else "all as published"
    print(f"{versions:,} versions, {files:,} files, {size:,} bytes in {place(lake.uri)}: {verdict}")
    if problems:
        print(
            "published files never change by themselves: something else wrote there, or the disk failed; "
            "materialise the assets named above again"
        )
    return 1 if problems else 0


def unlisted(version: Version) -> list[FileProblem]:
    """Files in the version's folder that its manifest does not name."""
    listed = {file.path for file in version.manifest.files} | RESERVED
    return [
        FileProblem(path=version.storage.path(path), message="is not in the manifest")
        for path in version.storage.files()
        if path not in listed
    ]
