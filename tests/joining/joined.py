"""Small use cases with joined sources and their validated versions.

`python tests/joining/joined.py` is not a program; the tests import it.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline_assets.joining.join import join_sources
from pipeline_assets.joining.results import JoinResult
from pipeline_assets.lake import Lake, Version
from pipeline_assets.lake.parquet import write_parquet
from pipeline_assets.spec import UseCase
from pipeline_assets.spec.partitions import partition_bounds, partition_name

DAYS = ["2026-03-28", "2026-03-29", "2026-03-30"]
"""In Europe/Berlin the second one has 23 hours."""
UTC_TIME = pa.timestamp("us", tz="UTC")

EVENTS: dict[str, Any] = {
    "key": ["id"],
    "columns": [
        {"name": "id", "type": "int64"},
        {"name": "at", "type": "timestamp"},
        {"name": "user", "type": "int64", "nullable": True},
        {"name": "shop", "type": "string", "nullable": True},
        {"name": "item", "type": "int32", "nullable": True},
        {"name": "clicked", "type": "int32"},
    ],
}
PROFILES: dict[str, Any] = {
    "source": {"uri": "profiles", "format": "jsonl"},
    "contract": {
        "key": ["user_id", "since"],
        "columns": [
            {"name": "user_id", "type": "int64"},
            {"name": "since", "type": "timestamp"},
            {"name": "plan", "type": "string", "nullable": True},
            {"name": "spend", "type": "float64"},
        ],
    },
    "join": {"user": "user_id"},
    "valid_from": "since",
}
CATALOGUE: dict[str, Any] = {
    "source": {"uri": "catalogue", "format": "csv"},
    "contract": {
        "key": ["shop", "number"],
        "columns": [
            {"name": "number", "type": "int32"},
            {"name": "shop", "type": "string"},
            {"name": "price", "type": "float32", "nullable": True},
        ],
    },
    "join": {"item": "number", "shop": "shop"},
}


def use_case(timed: bool = True, **changes: Any) -> UseCase:
    sources = changes.pop(
        "sources", {"profiles": PROFILES if timed else None, "catalogue": CATALOGUE}
    )
    time = {"column": "at", "start": DAYS[0], **changes.pop("time", {})}
    return UseCase.model_validate(
        {
            "name": "joined",
            "source": {"uri": "events/{partition}.csv" if timed else "events", "format": "csv"},
            "contract": EVENTS,
            "sources": {name: source for name, source in sources.items() if source is not None},
            "features": {
                "label": {"column": "clicked"},
                "columns": [{"name": "price", "kind": "numeric", "expression": "catalogue_price"}],
            },
            **({"time": time} if timed else {}),
            **changes,
        }
    )


def events(count: int = 900, seed: int = 0, zone: str = "UTC") -> pa.Table:
    """Events of `DAYS`, with ties, missing keys, and keys that no source knows."""
    random = np.random.default_rng(seed)
    time = use_case(time={"timezone": zone}).time
    assert time is not None
    first = int(partition_bounds(time, DAYS[0])[0].timestamp())
    last = int(partition_bounds(time, DAYS[-1])[1].timestamp())
    seconds = random.integers(first // 600, last // 600, count) * 600
    return pa.table(
        {
            "id": pa.array(np.arange(count)),
            "at": pa.array(seconds * 1_000_000, UTC_TIME),
            "user": pa.array(random.integers(0, 40, count), mask=random.random(count) < 0.05),
            "shop": pa.array(
                [f"s{number}" for number in random.integers(0, 5, count)],
                mask=random.random(count) < 0.05,
            ),
            "item": pa.array(random.integers(0, 9, count).astype(np.int32)),
            "clicked": pa.array((random.random(count) < 0.3).astype(np.int32)),
            "_row_id": pa.array(random.permutation(count) * 2_305_843_009_213_693 - 2**62),
        }
    )


def profiles(seed: int = 1, users: int = 35, versions: int = 4) -> pa.Table:
    """Up to four versions of each profile; the first days of some users have none."""
    random = np.random.default_rng(seed)
    rows = np.unique(
        np.stack(
            [
                np.repeat(np.arange(users), versions),
                # March 27 to 30, on the same grid of ten minutes as the events
                1774569600 + random.integers(0, 4 * 144, users * versions) * 600,
            ]
        ),
        axis=1,
    )
    count = rows.shape[1]
    return pa.table(
        {
            "user_id": pa.array(rows[0]),
            "since": pa.array(rows[1] * 1_000_000, UTC_TIME),
            "plan": pa.array([f"plan {n}" for n in range(count)], mask=random.random(count) < 0.1),
            "spend": pa.array(np.round(random.lognormal(3, 1, count), 2)),
            "_row_id": pa.array(random.permutation(count)),
        }
    )


def catalogue(shops: int = 4, items: int = 8) -> pa.Table:
    number, shop = np.divmod(np.arange(shops * items), shops)
    return pa.table(
        {
            "number": pa.array(number.astype(np.int32)),
            "shop": pa.array([f"s{n}" for n in shop]),
            "price": pa.array((number * 10 + shop).astype(np.float32), mask=number == 3),
            "_row_id": pa.array(np.arange(shops * items)),
        }
    )


def publish(
    lake: Lake, asset: str, table: pa.Table, partition: str = "all", files: int = 2
) -> Version:
    """Publish a table as `files` files."""
    with lake.dataset("joined", asset).stage(partition) as staged:
        for number in range(files if len(table) else 0):
            cut = slice(number * len(table) // files, (number + 1) * len(table) // files)
            path = f"rows/part-{number:05d}.parquet"
            write_parquet(table[cut], staged.path(path), path=path)
        staged.seal(rows=len(table), schema=[(name, "") for name in table.column_names])
        return staged.publish()


def publish_events(
    lake: Lake, table: pa.Table, case: UseCase, keys: list[str] = DAYS, files: int = 2
) -> dict[str, Version]:
    if case.time is None:
        return {"all": publish(lake, "validated", table, files=files)}
    times, versions = table["at"].cast(pa.int64()).to_numpy(), {}
    for key in keys:
        start, end = (int(t.timestamp()) * 1_000_000 for t in partition_bounds(case.time, key))
        day = table.filter(pa.array((times >= start) & (times < end)))
        versions[key] = publish(lake, "validated", day, partition_name(key), files)
    return versions


def join(
    spark: Any,
    lake: Lake,
    versions: Mapping[str, Version],
    sources: Mapping[str, Version],
    case: UseCase,
) -> tuple[dict[str, JoinResult], dict[str, tuple[Version, Version]]]:
    """Join, and publish the joined rows and those taken out."""
    staged = {}

    def stage(key: str) -> Any:
        staged[key] = tuple(
            lake.dataset("joined", asset).stage(partition_name(key))
            for asset in ("joined", "unmatched")
        )
        return staged[key]

    results = join_sources(spark, versions, sources, case, stage)
    published = {}
    for key, result in results.items():
        good, out = staged[key]
        good.seal(files=result.joined_files, rows=result.rows_joined, schema=result.joined_schema)
        out.seal(
            files=result.unmatched_files, rows=result.rows_unmatched, schema=result.unmatched_schema
        )
        published[key] = (good.publish(), out.publish())
    return results, published


def read(version: Version) -> pa.Table:
    """All rows, by row id."""
    tables = [pq.read_table(uri) for uri in version.uris("rows", ".parquet")]
    return pa.concat_tables(tables).combine_chunks().sort_by("_row_id") if tables else pa.table({})
