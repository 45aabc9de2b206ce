"""Finds use cases by name: folders with a `defs.yaml` under `pipeline_assets/defs`. Reads no data."""

from pathlib import Path

from pipeline_assets.command.errors import CommandError
from pipeline_assets.features.use_cases import load_checked_use_case
from pipeline_assets.spec import UseCase
from pipeline_assets.spec.loader import COMPONENT_TYPE, SpecError
from pipeline_assets.spec.suggestions import did_you_mean


def defs_folder() -> Path:
    """The folder that holds one folder per use case."""
    return Path(__file__).parents[1] / "defs"


def use_case_files(folder: Path | None = None) -> dict[str, Path]:
    """Folder name to `defs.yaml`, sorted; folders with definitions of other kinds are left out."""
    folder = defs_folder() if folder is None else folder
    return {
        file.parent.name: file
        for file in sorted(folder.glob("*/defs.yaml"))
        if COMPONENT_TYPE in file.read_text(encoding="utf-8")
    }


def check_all(folder: Path | None = None) -> None:
    """Raise `SpecError` for the first use case with mistakes: Dagster loads all of them or none."""
    for file in use_case_files(folder).values():
        load_checked_use_case(file)


def find_use_case(name: str, folder: Path | None = None) -> UseCase:
    """Load the use case of that name (the folder's, or the one that its `defs.yaml` gives).

    Raises:
        CommandError: there is none of that name; the message lists those that exist.
        SpecError: its `defs.yaml` has mistakes.
    """
    files = use_case_files(folder)
    if name in files:
        return load_checked_use_case(files[name])
    names = []
    for folder_name, file in files.items():
        try:
            use_case = load_checked_use_case(file)
        except SpecError:
            names.append(
                folder_name
            )  # not the one that was asked for: its mistakes are not the answer
            continue
        if use_case.name == name:
            return use_case
        names.append(use_case.name)
    hint = (
        did_you_mean(name, names)
        or f"known: {', '.join(names) or 'none'}; `dg scaffold defs {COMPONENT_TYPE} {name}` makes one"
    )
    raise CommandError(f"there is no use case {name!r} in {folder or defs_folder()}; {hint}")
