"""Removes what can no longer be resumed: checkpoints and studies of settings that others have taken the place of."""

import shutil
from pathlib import Path


def remove_superseded(folder: Path, *, keep: bool) -> None:
    """Remove what interrupted ones with other settings left, when one has been published, and what it left itself.

    Nobody resumes those: what comes next is of the settings that are declared now.

    Args:
        folder: of the one published, beside those of other settings of the same asset and partition.
        keep: what it left itself, because it is not complete.
    """
    for other in folder.parent.iterdir() if folder.parent.exists() else ():
        if not (keep and other == folder):
            shutil.rmtree(other, ignore_errors=True)
