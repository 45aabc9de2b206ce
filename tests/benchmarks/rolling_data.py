"""Card transactions for the rolling benchmark: the real days where there are any, else generated ones."""

import os
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline_assets.lake import Lake, Version
from tests.features import cards

_START = date(2018, 4, 1)
_REAL = Path(os.environ.get("PIPELINE_TEST_DATA", "../shared/data")) / "card_transactions"


def day_of(number: int) -> str:
    return (_START + timedelta(days=number)).isoformat()


def generated(number: int, rows: int = 9600) -> pa.Table:
    """One day of transactions of 5,000 customers at 10,000 terminals."""
    random = np.random.default_rng([11, number])
    midnight = int(np.datetime64(day_of(number), "us").astype(np.int64))
    return pa.table(
        {
            "TRANSACTION_ID": np.arange(number * rows, (number + 1) * rows),
            "TX_DATETIME": pa.array(
                midnight + random.integers(0, 86_400, rows) * 1_000_000, pa.timestamp("us")
            ),
            "CUSTOMER_ID": random.integers(0, 5000, rows),
            "TERMINAL_ID": random.integers(0, 10_000, rows),
            "TX_AMOUNT": np.round(random.lognormal(3.5, 0.8, rows), 2),
            "TX_FRAUD": (random.random(rows) < 0.008).astype(np.int64),
        }
    )


def prepare(work: Path) -> dict[str, Any]:
    """Publish the days' validated versions, as the chain would have."""
    lake = Lake(str(work / "lake"))
    days = sorted(path.stem for path in _REAL.glob("*.parquet")) if _REAL.is_dir() else []
    if days:
        cards.publish_days(lake, _REAL, days)
        return {"source": f"{len(days)} days of real transactions"}
    for number in range(136):
        cards.publish_validated(lake, generated(number), day_of(number))
    return {"source": "136 days of generated transactions"}


def versions(work: Path, lake: str = "lake") -> dict[str, Version]:
    dataset = Lake(str(work / lake)).dataset("cards", "validated")
    return {key: dataset.require(key) for key in dataset.partitions()}
