"""A small use case with daily partitions and its validated versions, for the tests of rolling features."""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline_assets.features.compute import FeatureResult
from pipeline_assets.features.partitions import compute_partition_features
from pipeline_assets.lake import Lake, Version
from pipeline_assets.lake.parquet import write_parquet
from pipeline_assets.spec import UseCase
from pipeline_assets.spec.partitions import partition_bounds, partition_name

COLUMNS = [
    {"name": "id", "type": "int64"},
    {"name": "at", "type": "timestamp"},
    {"name": "card", "type": "string", "nullable": True},
    {"name": "shop", "type": "int64", "nullable": True},
    {"name": "amount", "type": "float64", "nullable": True},
    {"name": "fraud", "type": "int32"},
]
ROLLING: list[dict[str, Any]] = [
    {
        "name": "card",
        "entity": ["card"],
        "windows": ["6h", "1d", "2d"],
        "aggregations": [
            {"function": "count"},
            {"function": "sum", "of": "amount"},
            {"function": "mean", "of": "amount"},
            {"function": "std", "of": "amount"},
            {"function": "min", "of": "amount"},
            {"function": "max", "of": "amount * 2", "name": "twice"},
            {"function": "distinct_count", "of": "shop", "name": "shops"},
            {"function": "time_since_last"},
        ],
    },
    {
        "name": "shop",
        "entity": ["shop"],
        "windows": ["1d", "2d"],
        "aggregations": [{"function": "label_rate"}],
        "empty": 0,
    },
    {
        "name": "large",
        "entity": ["card", "shop"],
        "windows": ["2d"],
        "aggregations": [{"function": "count"}, {"function": "max", "of": "amount"}],
        "filter": "amount > 40",
        "delay": "3h",
    },
]
DAYS = [f"2026-03-{day:02d}" for day in range(26, 32)]
"""Six days; in Europe/Berlin the fourth one has 23 hours."""


def use_case(**changes: Any) -> UseCase:
    features = {
        "columns": [
            {"name": "log_amount", "kind": "numeric", "expression": "ln(amount + 1)"},
            {"name": "hour", "kind": "categorical", "expression": "CAST(hour(at) AS STRING)"},
        ],
        "label": {"column": "fraud"},
        "rolling": ROLLING,
        "carried": ["card", "amount", "at"],
        **changes.pop("features", {}),
    }
    time = {"column": "at", "start": "2026-03-01", "label_delay": "1d", **changes.pop("time", {})}
    return UseCase.model_validate(
        {
            "name": "timed",
            "time": time,
            "source": {"uri": "unused/{partition}.csv", "format": "csv"},
            "contract": {"key": ["id"], "columns": COLUMNS},
            "features": features,
            **changes,
        }
    )


def rows(count: int = 3000, seed: int = 0, case: UseCase | None = None) -> pa.Table:
    """Events of `DAYS` with ties, missing values and one card that has a third of them."""
    random = np.random.default_rng(seed)
    time = (case or use_case()).time
    assert time is not None
    start, end = partition_bounds(time, DAYS[0])[0], partition_bounds(time, DAYS[-1])[1]
    minutes = random.integers(0, (end - start) // dt.timedelta(minutes=1), count)
    cards = np.where(random.random(count) < 0.3, 0, random.integers(1, 40, count))
    return pa.table(
        {
            "id": pa.array(np.arange(count)),
            "at": pa.array(
                minutes * 60_000_000 + int(start.timestamp()) * 1_000_000,
                pa.timestamp("us", tz="UTC"),
            ),
            "card": pa.array([f"c{card}" for card in cards], mask=random.random(count) < 0.05),
            "shop": pa.array(random.integers(0, 20, count), mask=random.random(count) < 0.05),
            "amount": pa.array(
                np.round(random.lognormal(3, 1, count), 2), mask=random.random(count) < 0.1
            ),
            "fraud": pa.array((random.random(count) < 0.1).astype(np.int32)),
            "_row_id": pa.array(random.permutation(count) * 2_305_843_009_213_693 - 2**62),
        }
    )


def publish_validated(
    lake: Lake, table: pa.Table, case: UseCase, keys: Iterable[str] = DAYS, files: int = 2
) -> dict[str, Version]:
    """Publish each day's rows as `files` files."""
    times = table["at"].cast(pa.int64()).to_numpy()
    versions = {}
    for key in keys:
        assert case.time is not None
        start, end = (int(t.timestamp()) * 1_000_000 for t in partition_bounds(case.time, key))
        day = table.filter(pa.array((times >= start) & (times < end)))
        with lake.dataset("timed", "validated").stage(partition_name(key)) as staged:
            for number in range(files if len(day) else 0):
                part = day.take(np.arange(number, len(day), files))
                path = f"rows/part-{number:05d}.parquet"
                write_parquet(part, staged.path(path), path=path)
            staged.seal(rows=len(day), schema=[(name, "") for name in table.column_names])
            versions[key] = staged.publish()
    return versions


def publish_features(
    spark: Any,
    lake: Lake,
    keys: Sequence[str],
    validated: Mapping[str, Version],
    case: UseCase,
) -> tuple[dict[str, FeatureResult], dict[str, Version]]:
    """Compute and publish the features of some days."""
    staged = {}

    def stage(key: str) -> Any:
        staged[key] = lake.dataset("timed", "features").stage(partition_name(key))
        return staged[key]

    results = compute_partition_features(spark, keys, validated, case, stage)
    versions = {}
    for key, result in results.items():
        staged[key].seal(files=result.files, rows=result.rows, schema=result.schema)
        versions[key] = staged[key].publish()
    return results, versions


def read(version: Version) -> pa.Table:
    return pa.concat_tables([pq.read_table(uri) for uri in version.uris("rows", ".parquet")])
