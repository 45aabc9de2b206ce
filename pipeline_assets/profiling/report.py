"""Shows profiles of several stages and names the one to look at first. Measures nothing."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pipeline_assets.profiling.profile import Profile

_BUSY = 0.7
_IDLE = 0.3


@dataclass(frozen=True, kw_only=True)
class Bottleneck:
    """The stage that took longest, and what it waited for."""

    stage: str
    share: float
    """Share of the wall time of all stages, 0 to 1."""
    reason: str
    """What its figures say, as a phrase."""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, JSON-safe."""
        return asdict(self)


def bottleneck(profiles: Mapping[str, Profile]) -> Bottleneck | None:
    """Return the stage with the most wall time, None where there is no stage."""
    if not profiles:
        return None
    stage = max(profiles, key=lambda name: profiles[name].wall_seconds)
    worst = profiles[stage]
    total = sum(profile.wall_seconds for profile in profiles.values())
    return Bottleneck(
        stage=stage, share=worst.wall_seconds / total if total else 0.0, reason=_reason(worst)
    )


def _reason(worst: Profile) -> str:
    share = f"{worst.cpu_share:.0%} of {worst.cores} cores busy"
    if worst.cpu_share >= _BUSY:
        return f"{share}: bound by computation, more cores would help"
    if worst.cpu_seconds >= _BUSY * worst.wall_seconds:
        return f"{share}: about one thread at work, the rest waits for it"
    if worst.cpu_share <= _IDLE:
        return f"{share}: waits for storage, network or start-up"
    return share


def stage_table(profiles: Mapping[str, Profile]) -> str:
    """Return a text table, one line per stage in the given order, a total, and the bottleneck."""
    if not profiles:
        return "no stage was profiled"
    header = ("stage", "wall s", "cpu s", "cores busy", "peak MiB", "read MiB", "written MiB")
    rows = [_row(name, profile) for name, profile in profiles.items()]
    every = list(profiles.values())
    total = (
        "total",
        f"{sum(p.wall_seconds for p in every):.1f}",
        f"{sum(p.cpu_seconds for p in every):.1f}",
        "",
        _mebibytes(max(p.peak_rss_bytes for p in every)),
        _mebibytes(sum(p.read_bytes for p in every)),
        _mebibytes(sum(p.written_bytes for p in every)),
    )
    table = [header, *rows, total]
    widths = [max(len(row[column]) for row in table) for column in range(len(header))]
    lines = [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in table
    ]
    lines.insert(1, "-" * len(lines[0]))
    lines.insert(-1, "-" * len(lines[0]))
    worst = bottleneck(profiles)
    if worst is not None:
        lines.append(f"bottleneck: {worst.stage}, {worst.share:.0%} of the time; {worst.reason}")
    return "\n".join(lines)


def _row(name: str, profile: Profile) -> tuple[str, ...]:
    return (
        name,
        f"{profile.wall_seconds:.1f}",
        f"{profile.cpu_seconds:.1f}",
        f"{profile.cpu_share:.0%}",
        _mebibytes(profile.peak_rss_bytes),
        _mebibytes(profile.read_bytes),
        _mebibytes(profile.written_bytes),
    )


def _mebibytes(count: int) -> str:
    return f"{count / 2**20:,.0f}" if count >= 2**20 else f"{count / 2**20:.2f}"
