"""One measurement of the rolling benchmark, in a process of its own; prints JSON as its last line."""

import argparse
import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline_assets.engine import start_session, stop_session
from pipeline_assets.environments import EngineSettings
from pipeline_assets.features.frame import label_sql
from pipeline_assets.features.partition_job import ROWS_PER_TASK
from pipeline_assets.features.partitions import compute_partition_features
from pipeline_assets.features.rolling.kernel import rolling_features
from pipeline_assets.features.rolling.plan import rolling_plan
from pipeline_assets.lake import Lake, Version
from pipeline_assets.spec import UseCase
from pipeline_assets.spec.partitions import history_keys, history_partitions
from tests.benchmarks import rolling_peers
from tests.benchmarks.measuring import peak_memory, repeated, timed
from tests.benchmarks.rolling_data import day_of, generated, prepare, versions
from tests.features import cards

NAMES = [
    f"{name}_{days}d"
    for days in rolling_peers.LENGTHS
    for name in ("customer_count", "customer_mean", "terminal_count", "terminal_risk")
]


def features(spark, work: Path, validated: dict[str, Version], case: UseCase, keys=None) -> Path:
    """Compute and write; returns the folder of the staged versions."""
    lake = Lake(str(work / "features"))
    staged = {}

    def stage(key: str):
        staged[key] = lake.dataset("cards", "features").stage(key)
        return staged[key]

    compute_partition_features(spark, keys or list(validated), validated, case, stage)
    return work / "features"


def sums_of(target: Path) -> tuple[int, dict[str, float]]:
    """Rows, and the sum of each feature, of all Parquet files."""
    files = [target] if target.is_file() else sorted(target.rglob("*.parquet"))
    tables = [pq.ParquetFile(file).read(columns=NAMES) for file in files]
    return sum(map(len, tables)), {
        name: sum(float(np.sum(t[name].to_numpy(), dtype=np.float64)) for t in tables)
        for name in NAMES
    }


def contestant(work: Path, name: str, repeats: int) -> dict[str, Any]:
    """Ours on an engine, or a peer."""
    validated = versions(work)
    files = [
        uri.removeprefix("file://")
        for v in validated.values()
        for uri in v.uris("rows", ".parquet")
    ]
    target, session, spark = work / "answer", None, None
    engine = name.removeprefix("sql-")
    if engine in ("sail", "spark"):
        started = time.perf_counter()
        spark = start_session(EngineSettings.model_validate({"kind": engine}), "benchmark")
        session = time.perf_counter() - started
    if name in ("sail", "spark"):
        target = work / "features"
        case = cards.use_case(columns=[])
        run = lambda: features(spark, work, validated, case)  # noqa: E731
    else:
        peers = {
            "duckdb": rolling_peers.duckdb_sql,
            "polars": rolling_peers.polars_rolling,
            "pandas": rolling_peers.pandas_rolling,
        }
        peer = peers.get(name) or rolling_peers.spark_sql(spark)
        run = lambda: peer(files, target)  # noqa: E731

    def clean() -> None:
        shutil.rmtree(target, ignore_errors=True)
        target.unlink(missing_ok=True)

    seen = repeated(run, clean, repeats)
    rows, sums = sums_of(target)
    clean()
    if spark is not None:
        stop_session()
    return {**seen, "session": session, "rows": rows, "sums": sums}


def lengths(work: Path, repeats: int) -> dict[str, Any]:
    """One window of each kind, of 1 to 120 days."""
    spark = start_session(EngineSettings(), "benchmark")
    validated = versions(work)
    blocks = (cards.CUSTOMER, cards.COUNT, cards.RISK)
    seconds: dict[str, list[float]] = {}
    for _ in range(repeats + 1):  # in turns, so that what slows the machine slows them all
        for days in ("1", "7", "30", "120"):
            windows = [{**block, "windows": [f"{days}d"]} for block in blocks]
            case = cards.use_case(windows, columns=[])
            seconds.setdefault(days, []).append(
                timed(lambda case=case: features(spark, work, validated, case))
            )
            shutil.rmtree(work / "features")
    stop_session()
    return {"seconds": {days: min(times[1:]) for days, times in seconds.items()}}


def day(work: Path, repeats: int) -> dict[str, Any]:
    """The last day, with its history."""
    spark = start_session(EngineSettings(), "benchmark")
    validated, case = versions(work), cards.use_case(columns=[])
    assert case.time is not None
    last = max(validated)
    before = history_keys(case.time, last, history_partitions(case))
    seen = repeated(
        lambda: features(spark, work, validated, case, [last]),
        lambda: shutil.rmtree(work / "features"),
        repeats,
    )
    history = sum(validated[key].rows for key in (*before, last) if key in validated)
    shutil.rmtree(work / "features")
    stop_session()
    return {**seen, "rows": validated[last].rows, "history": history}


def backfill(work: Path, days: int) -> dict[str, Any]:
    """Generated days in one range."""
    lake = Lake(str(work / "year"))
    for number in range(days):
        cards.publish_validated(lake, generated(number), day_of(number))
    spark = start_session(EngineSettings(), "benchmark")
    validated, case = versions(work, "year"), cards.use_case(columns=[])
    with peak_memory() as peak:
        seconds = timed(lambda: features(spark, work, validated, case))
    stop_session()
    shutil.rmtree(work / "features")
    shutil.rmtree(work / "year")
    return {"seconds": seconds, "peak_mib": peak[0]}


def task(share: float, total: int = 1_300_000) -> dict[str, Any]:
    """The kernel on the largest unit of events: all of one entity, or as many as a task is meant to hold."""
    case = cards.use_case()
    group = rolling_plan(case, label_sql(case)).groups[0]
    rows = max(ROWS_PER_TASK, int(share * total))
    random = np.random.default_rng(5)
    entities = np.where(np.arange(rows) < share * total, 0, random.integers(1, 500, rows))
    columns = {"_time": np.sort(random.integers(0, 136 * 86_400_000_000, rows))}
    columns |= dict.fromkeys(group.entity, entities)
    columns |= {name: np.round(random.lognormal(3, 1, rows), 2) for name in group.values}
    table = pa.table(columns)
    rolling_features(table.slice(0, 100), group, np.arange(100))
    before = psutil.Process().memory_info().rss
    with peak_memory() as peak:
        seconds = timed(lambda: rolling_features(table, group, np.arange(rows)))
        time.sleep(0.1)
    more = peak[0] - (before >> 20)
    return {
        "total": total,
        "rows": rows,
        "seconds": seconds,
        "peak_mib": more,
        "per_row": (more << 20) / rows,
    }


def main() -> None:
    """Print the measurement."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("what")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--share", type=float, default=0.0)
    arguments = parser.parse_args()
    work, repeats = arguments.work, arguments.repeats
    special = {
        "prepare": lambda: prepare(work),
        "lengths": lambda: lengths(work, repeats),
        "day": lambda: day(work, repeats),
        "backfill": lambda: backfill(work, arguments.days),
        "task": lambda: task(arguments.share),
    }
    run = special.get(arguments.what, lambda: contestant(work, arguments.what, repeats))
    print(json.dumps(run()))
    sys.stdout.flush()


if __name__ == "__main__":
    main()
