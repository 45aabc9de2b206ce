"""Card transactions as a use case with the handbook's 15 features, and validated versions of its files."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash

from pipeline_assets.lake import Lake, Version
from pipeline_assets.lake.parquet import write_parquet
from pipeline_assets.spec import UseCase

COLUMNS = {
    "TRANSACTION_ID": "int64",
    "TX_DATETIME": "timestamp",
    "CUSTOMER_ID": "int64",
    "TERMINAL_ID": "int64",
    "TX_AMOUNT": "float64",
    "TX_FRAUD": "int64",
}
WINDOWS = ["1d", "7d", "30d"]
ROW_FEATURES = [
    {"name": "TX_AMOUNT", "kind": "numeric"},
    {
        "name": "TX_DURING_WEEKEND",
        "kind": "numeric",
        "expression": "CASE WHEN dayofweek(TX_DATETIME) IN (1, 7) THEN 1 ELSE 0 END",
    },
    {
        "name": "TX_DURING_NIGHT",
        "kind": "numeric",
        "expression": "CASE WHEN hour(TX_DATETIME) <= 6 THEN 1 ELSE 0 END",
    },
]
CUSTOMER = {
    "name": "customer",
    "entity": ["CUSTOMER_ID"],
    "aggregations": [{"function": "count"}, {"function": "mean", "of": "TX_AMOUNT"}],
}
RISK = {
    "name": "terminal",
    "entity": ["TERMINAL_ID"],
    "aggregations": [{"function": "label_rate", "name": "risk"}],
    "empty": 0,
}
# The handbook counts the transactions whose labels are known.
COUNT = {
    "name": "terminal",
    "entity": ["TERMINAL_ID"],
    "aggregations": [{"function": "count"}],
    "delay": "7d",
}
ORACLE = {
    **{name: name for name in ("TX_DURING_WEEKEND", "TX_DURING_NIGHT", "TX_AMOUNT")},
    **{
        f"{ours}_{days}d": f"{theirs}_{days}DAY_WINDOW"
        for days in (1, 7, 30)
        for ours, theirs in (
            ("customer_count", "CUSTOMER_ID_NB_TX"),
            ("customer_mean", "CUSTOMER_ID_AVG_AMOUNT"),
            ("terminal_count", "TERMINAL_ID_NB_TX"),
            ("terminal_risk", "TERMINAL_ID_RISK"),
        )
    },
}
"""Our feature to the handbook's, the amount itself included."""


def use_case(
    rolling: Iterable[dict[str, Any]] = (CUSTOMER, COUNT, RISK), **changes: Any
) -> UseCase:
    blocks = [{"windows": WINDOWS, **block} for block in rolling]
    return UseCase.model_validate(
        {
            "name": "cards",
            "time": {"column": "TX_DATETIME", "start": "2018-04-01", "label_delay": "7d"},
            "source": {"uri": "unused/{partition}.parquet", "format": "parquet"},
            "contract": {
                "key": ["TRANSACTION_ID"],
                "columns": [{"name": name, "type": type_} for name, type_ in COLUMNS.items()],
            },
            "features": {
                "columns": ROW_FEATURES,
                "label": {"column": "TX_FRAUD"},
                "rolling": blocks,
                **changes,
            },
        }
    )


def row_ids(transactions: pa.ChunkedArray) -> np.ndarray:
    """The hash of the key as the contract's validation computes it."""
    hashes = [xxhash.xxh64_intdigest(str(key), 42) for key in transactions.to_pylist()]
    return np.array(hashes, dtype=np.uint64).view(np.int64)


def publish_validated(lake: Lake, table: pa.Table, key: str) -> Version:
    """Publish one day's transactions, with row ids, as two files."""
    ids = row_ids(table["TRANSACTION_ID"])
    times = table["TX_DATETIME"].cast(pa.timestamp("us")).cast(pa.timestamp("us", "UTC"))
    rows = table.select(list(COLUMNS)).set_column(1, "TX_DATETIME", times)
    rows = rows.append_column("_row_id", pa.array(ids)).sort_by("_row_id")
    with lake.dataset("cards", "validated").stage(key) as staged:
        files = []
        for bucket in (0, 1):
            path = f"rows/part-{bucket:05d}.parquet"
            part = rows.filter(pc.equal(pc.bit_wise_and(rows["_row_id"], 1), bucket))
            files.append(write_parquet(part, staged.path(path), path=path))
        staged.seal(files=files, rows=len(rows), schema=[])
        return staged.publish()


def publish_days(lake: Lake, folder: Path, keys: Iterable[str]) -> dict[str, Version]:
    """Publish days of the real files."""
    return {
        key: publish_validated(lake, pq.read_table(folder / f"{key}.parquet"), key) for key in keys
    }
