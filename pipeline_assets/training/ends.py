"""How processes of a training have ended that gave no reason themselves, in words."""

import signal
import traceback
from collections.abc import Mapping
from pathlib import Path

from pipeline_assets.training.config import TrainingError


def how_ranks_ended(statuses: Mapping[int, int]) -> str:
    """Say which ranks ended by themselves; where some were killed the others only lost contact.

    Args:
        statuses: of ranks, as `subprocess` gives them: negative for a signal.
    """
    killed = {rank: status for rank, status in statuses.items() if status < 0}
    return " and ".join(
        f"rank {rank} {how_it_ended(status)}"
        for rank, status in sorted((killed or statuses).items())
    )


def how_it_ended(status: int) -> str:
    """A status of `subprocess`, as a verb."""
    return f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"


def may_be_memory(status: int) -> str:
    """What to look for after a process was killed; empty where the signal says nothing of it."""
    if status != -signal.SIGKILL:
        return ""
    return ", as the kernel does when memory runs out (see its log; fewer or smaller processes need less)"


def what_was_raised(error: BaseException) -> str:
    """Type and message of an error, and where it was raised."""
    return f"{type(error).__name__}: {error}\n{where_it_was_raised(error)}"


def where_it_was_raised(error: BaseException) -> str:
    """The last lines of a stack trace, without most of those of installed packages."""
    frames = traceback.extract_tb(error.__traceback__)
    shown = [frame for frame in frames if "site-packages" not in Path(frame.filename).parts][-3:]
    if frames and frames[-1] not in shown:
        shown.append(frames[-1])
    return "".join(traceback.format_list(shown)).rstrip()


def where_it_goes_on(checkpoints: str | Path) -> str:
    """What materialising again, or another launch of the same job, would do."""
    from pipeline_assets.training.checkpoint import checkpoint_names

    try:
        names = checkpoint_names(Path(checkpoints))
    except TrainingError as error:
        return str(error)
    if not names:
        return "No checkpoint was taken: materialised again, it begins anew"
    _, epochs, *more = names[0].split("-")
    batches = f" ({int(more[1]):,} batches done)" if more[:1] == ["batch"] else ""
    return f"Materialise again: it goes on from epoch {int(epochs) + 1}{batches}"
