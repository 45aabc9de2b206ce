"""What all benchmarks print: one table, the machine, the versions and the date.

table = Table("Validation of 1,000,000 rows")
table.row("one pass", 1.9)
table.row("pandera.pyspark", 30.1, ratio=30.1 / 1.9, aim=5.0)
table.print(packages=["pyspark", "pandera"])
"""

import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class _Row:
    what: str
    seconds: float | None
    ratio: float | None
    aim: float | None
    at_most: bool
    note: str

    @property
    def met(self) -> bool | None:
        if self.ratio is None or self.aim is None:
            return None
        return self.ratio <= self.aim if self.at_most else self.ratio >= self.aim


@dataclass
class Table:
    """Rows of measurements: what, seconds, ratio, aim, met."""

    title: str
    rows: list[_Row] = field(default_factory=list)

    def row(
        self,
        what: str,
        seconds: float | None,
        *,
        ratio: float | None = None,
        aim: float | None = None,
        at_most: bool = False,
        note: str = "",
    ) -> None:
        """Add a measurement.

        Args:
            what: what was measured.
            seconds: wall time; None where only the ratio means something.
            ratio: compared with another row; `note` or `what` says with which.
            aim: the ratio wanted: at least, or `at_most` where a smaller one is better.
            note: anything a reader must know to judge the number.
        """
        self.rows.append(_Row(what, seconds, ratio, aim, at_most, note))

    @property
    def missed(self) -> list[str]:
        """What did not meet its aim."""
        return [row.what for row in self.rows if row.met is False]

    def __str__(self) -> str:
        cells = [("what", "seconds", "ratio", "aim", "met", "")]
        for row in self.rows:
            sign = "≤" if row.at_most else "≥"
            cells.append(
                (
                    row.what,
                    "" if row.seconds is None else f"{row.seconds:.2f}",
                    "" if row.ratio is None else f"{row.ratio:.2f}",
                    "" if row.aim is None else f"{sign} {row.aim:g}",
                    {None: "", True: "yes", False: "NO"}[row.met],
                    row.note,
                )
            )
        widths = [max(len(line[i]) for line in cells) for i in range(6)]
        lines = [
            "  ".join(
                cell.ljust(width) if i in (0, 5) else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(line, widths))
            ).rstrip()
            for line in cells
        ]
        lines.insert(1, "-" * max(len(line) for line in lines))
        return "\n".join([self.title, *lines])

    def print(self, packages: Sequence[str] = ()) -> None:
        """Print the table, then the machine and the versions that the numbers belong to."""
        print(f"\n{self}\n{machine()}\n{versions(packages)}\n", flush=True)


def machine() -> str:
    """One line: processor, cores, memory, system, date."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    today = datetime.now(UTC).date().isoformat()
    return f"{_processor()}, {cores} cores, {memory:.0f} GiB, {platform.system()}, {today}"


def versions(packages: Sequence[str]) -> str:
    """One line: Python and the installed versions of the packages."""
    found = [f"Python {platform.python_version()}"]
    for package in packages:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            found.append(f"{package} not installed")
    return ", ".join(found)


def best_of(repeats: int, function: Callable[[], T]) -> tuple[float, T]:
    """Run a function several times; return the shortest wall time in seconds and the last result."""
    seconds, results = [], []
    for _ in range(repeats):
        start = time.perf_counter()
        results = [function()]
        seconds.append(time.perf_counter() - start)
    return min(seconds), results[0]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


if __name__ == "__main__":
    sys.exit("this module is imported by the benchmarks; run one of those")
