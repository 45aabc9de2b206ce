"""The 12 rolling features of the fraud handbook, from Parquet to Parquet, against other ways to compute them.

    python -m tests.benchmarks.rolling            # all of them, some minutes

Customer count and mean amount, terminal count and label rate (seven days late) over 1, 7 and 30 days. The
real card transactions where there are any, generated ones otherwise. Every contestant runs in a process of
its own: "cold" is its first run there (engines are started before, and shown by themselves), "warm" the
best of the next ones. Ours writes a file per day, sorted and hashed, as the asset does; the others write
what is easiest for them.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.benchmarks.report import Table

ROOT = Path(__file__).parents[2]
QUICK = ("sail", "duckdb", "polars", "spark")
SLOW = ("sql-sail", "sql-spark", "pandas")
"""Contestants; of the slow ones fewer warm runs are made."""


def measure(work: Path, what: str, *options: str) -> dict[str, Any]:
    """Run `rolling_child` in a fresh process; its measurements, or {"error": …}."""
    command = [sys.executable, "-m", "tests.benchmarks.rolling_child", str(work), what, *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        return {"error": (done.stderr.strip().splitlines() or ["no output"])[-1][:120]}
    return json.loads(lines[-1])


def compare(work: Path, repeats: int) -> tuple[Table, list[str]]:
    """Ours and the peers on the same rows; the table, and whose sums differ from ours."""
    found = {name: measure(work, name, "--repeats", str(3 * repeats)) for name in QUICK}
    found |= {name: measure(work, name, "--repeats", str(repeats)) for name in SLOW}
    rows = found["sail"]["rows"]
    table = Table(f"12 rolling features of {rows:,} transactions, Parquet to Parquet")
    wrong = []
    for name, seen in found.items():
        label = f"ours on {name}" if name in ("sail", "spark") else name
        if "error" in seen:
            table.row(label, None, note=seen["error"])
            wrong.append(name)
            continue
        note = f"peak {seen['peak_mib']:,} MiB"
        if seen.get("session") is not None:
            note += f", session start {seen['session']:.1f} s"
        table.row(f"{label}, cold", seen["cold"], note=note)
        table.row(f"{label}, warm", seen["warm"], note=f"{seen['warm_core']:.1f} s of a core")
        if not _agree(found["sail"]["sums"], seen["sums"]):
            wrong.append(name)
    for ours, peer, aim in (
        ("sail", "duckdb", 0.6),
        ("sail", "sql-spark", 0.1),
        ("sail", "sql-sail", None),
        ("sail", "polars", None),
        ("sail", "pandas", None),
        ("spark", "sql-spark", 0.4),
    ):
        if "error" in found[ours] or "error" in found[peer]:
            continue
        for state in ("cold", "warm"):
            ratio = found[ours][state] / found[peer][state]
            wanted = aim if state == "warm" else None
            core = found[ours]["warm_core"] / found[peer]["warm_core"]
            note = f"{core:.2f} in seconds of a core" if state == "warm" else ""
            table.row(
                f"ours on {ours} / {peer}, {state}",
                None,
                ratio=ratio,
                aim=wanted,
                at_most=True,
                note=note,
            )
    return table, wrong


def scale(work: Path, repeats: int, year: int) -> Table:
    """What does not show in the comparison: window lengths, one day, a year, memory of a task."""
    table = Table("Rolling features on the embedded engine")
    lengths = measure(work, "lengths", "--repeats", str(2 * repeats))["seconds"]
    shortest = lengths["1"]
    for days, seconds in lengths.items():
        ratio, aim = (None, None) if days == "1" else (seconds / shortest, 1.3)
        table.row(f"one window of {days} days", seconds, ratio=ratio, aim=aim, at_most=True)
    day = measure(work, "day", "--repeats", str(2 * repeats))
    note = f"{day['rows']:,} rows, {day['history']:,} with their history"
    table.row("one more day, warm", day["warm"], ratio=day["warm"], aim=1, at_most=True, note=note)
    table.row("one more day, cold", day["cold"])
    backfill = measure(work, "backfill", "--days", str(year))
    table.row(
        f"backfill of {year} days of 9,600, one run",
        backfill["seconds"],
        note=f"{year / backfill['seconds']:.0f} days per second, peak {backfill['peak_mib']:,} MiB",
    )
    for name, share in (("even", 0.0), ("30 % in one entity", 0.3)):
        seen = measure(work, "task", "--share", str(share))
        table.row(
            f"largest task of {seen['total']:,} rows, {name}",
            seen["seconds"],
            note=f"{seen['rows']:,} rows, {seen['peak_mib']:,} MiB more: {seen['per_row']:.0f} bytes a row",
        )
    return table


def main() -> int:
    """Print the tables; 1 where a peer's sums differ from ours, which makes the comparison worthless."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--repeats",
        type=int,
        default=2,
        help="warm runs, of quick ones three times as many (default: %(default)s)",
    )
    parser.add_argument("--days", type=int, default=365, help="days of the backfill")
    arguments = parser.parse_args()
    os.environ.setdefault("RUST_LOG", "error")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        started = time.perf_counter()
        prepared = measure(work, "prepare")
        if "error" in prepared:
            sys.exit(prepared["error"])
        print(
            f"{prepared['source']}, prepared in {time.perf_counter() - started:.0f} s", flush=True
        )
        table, wrong = compare(work, arguments.repeats)
        packages = ["pysail", "pyspark", "duckdb", "polars", "pandas", "numpy", "pyarrow"]
        table.print(packages)
        scale(work, arguments.repeats, arguments.days).print(["numpy", "pyarrow"])
    if wrong:
        print(f"no answer, or another one than ours: {', '.join(wrong)}", file=sys.stderr)
    return 1 if wrong else 0


def _agree(ours: dict[str, float], theirs: dict[str, float]) -> bool:
    # Ties differ in pandas, which counts the earlier rows of an instant only.
    return all(abs(theirs[name] - total) <= 1e-4 * abs(total) for name, total in ours.items())


if __name__ == "__main__":
    sys.exit(main())
