"""What the measured seconds of all ranks say. Plain numbers in, JSON-safe numbers and sentences out."""

from collections.abc import Mapping, Sequence
from statistics import fmean, median
from typing import Any, Literal, get_args

PROFILE_FILE = "profile.json"
Part = Literal[
    "data",
    "forward",
    "backward",
    "communication",
    "optimiser",
    "compile",
    "checkpoint",
    "validation",
]
PARTS: tuple[Part, ...] = get_args(Part)
STEP_PARTS = PARTS[:5]
"""Those of a step; one in which `torch.compile` has worked counts as `compile`."""

STRAGGLER_FACTOR = 1.25
"""A rank is a straggler whose own time per step exceeds the median of the other ranks by this factor."""
OTHER = "other"


def shares(seconds: Mapping[str, float], total: float) -> dict[str, float]:
    """Share of each part in a rank's time, and of all else as `other`.

    The clock of a GPU and that of the host differ in what they see, so the parts may exceed the total by
    a little: then they share it.

    Args:
        seconds: of each part.
        total: the rank's time.
    """
    whole = max(total, sum(seconds.values()), 1e-9)
    found = {part: seconds[part] / whole for part in PARTS}
    return {**found, OTHER: max(0.0, 1.0 - sum(found.values()))}


def step_spread(ranks: Sequence[Mapping[str, float]], *, separable: bool) -> dict[str, Any]:
    """Compare the ranks' mean steps.

    A step lasts as long on all ranks, as each waits for the slowest; a rank's own time is that without
    communication.

    Args:
        ranks: of each rank, in order: `steps` and the seconds of each part in them.
        separable: own time can be told from waiting.

    Returns:
        `step_seconds` ({min, median, max} over ranks), `own_seconds` (one per rank, or None) and
        `straggler` ({rank, times} or None); all None without steps.
    """
    if not all(rank["steps"] for rank in ranks):
        return {"step_seconds": None, "own_seconds": None, "straggler": None}
    steps = [sum(rank[part] for part in STEP_PARTS) / rank["steps"] for rank in ranks]
    spread = {"min": min(steps), "median": median(steps), "max": max(steps)}
    if not separable:
        return {"step_seconds": spread, "own_seconds": None, "straggler": None}
    own = [step - rank["communication"] / rank["steps"] for step, rank in zip(steps, ranks)]
    return {"step_seconds": spread, "own_seconds": own, "straggler": straggler(own)}


def straggler(own: Sequence[float]) -> dict[str, Any] | None:
    """The slowest rank, where it exceeds the median of the others by `STRAGGLER_FACTOR`.

    >>> straggler([1.0, 3.0, 1.0])
    {'rank': 1, 'times': 3.0}
    """
    if len(own) < 2:
        return None
    rank = max(range(len(own)), key=lambda at: own[at])
    others = [*own[:rank], *own[rank + 1 :]]
    times = own[rank] / max(median(others), 1e-9)
    return {"rank": rank, "times": times} if times > STRAGGLER_FACTOR else None


def mean_shares(ranks: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean over ranks of their shares."""
    return {part: fmean(rank[part] for rank in ranks) for part in (*PARTS, OTHER)}


def sentence(content: Mapping[str, Any]) -> str:
    """The content of `profile.json` in a sentence."""
    parts = sorted(content["shares"].items(), key=lambda item: -item[1])
    text = "profile: " + ", ".join(f"{part} {share:.1%}" for part, share in parts)
    step = content["step_seconds"]
    if step is not None:
        text += f"; a step takes {step['median'] * 1000:.2f} ms"
        if content["ranks"] > 1:
            text += f" ({step['min'] * 1000:.2f} to {step['max'] * 1000:.2f} over ranks)"
    if not content["separable"]:
        text += "; a sharded network also communicates in forward, backward and optimiser"
    slow = content["straggler"]
    if slow is not None:
        text += (
            f"; rank {slow['rank']} is a straggler: without waiting for others its steps take "
            f"{slow['times']:.2f} times as long as the median of the other ranks"
        )
    return text
