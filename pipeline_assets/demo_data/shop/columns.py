"""Impressions: as arrays while they are made, and as the table that is written."""

import datetime as dt
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipeline_assets.demo_data.rows import MISSING, Rows

SCHEMA = pa.schema(
    [
        ("event_id", pa.int64()),
        ("time", pa.timestamp("us", tz="UTC")),
        ("user_id", pa.int64()),
        ("product_id", pa.string()),
        ("position", pa.int32()),
        ("clicked", pa.int32()),
    ]
)
"""Of the files of clicks."""


@dataclass(frozen=True, kw_only=True)
class Impressions(Rows):
    """Arrays of one length."""

    id: np.ndarray
    """int64."""
    seconds: np.ndarray
    """int64, since the start of the shop."""
    user: np.ndarray
    """int64, index of the user, `MISSING` for null."""
    product: np.ndarray
    """int64, index of the product, `MISSING` for null."""
    position: np.ndarray
    """int64 from 1."""
    clicked: np.ndarray
    """int64, 1 where it was clicked."""
    no_time: np.ndarray
    """bool, True where the timestamp is null."""

    def as_table(self, start: dt.date, product_ids: np.ndarray) -> pa.Table:
        """The table of a file.

        Args:
            start: the day from which seconds count.
            product_ids: str [products].
        """
        times = np.datetime64(start, "us") + self.seconds.astype("timedelta64[s]")
        products = pa.array(self.product, mask=self.product == MISSING)
        return pa.table(
            [
                pa.array(self.id),
                pa.array(times, SCHEMA.field("time").type, mask=self.no_time),
                pa.array(self.user + 1, mask=self.user == MISSING),
                pa.array(product_ids).take(products),
                pa.array(self.position, pa.int32()),
                pa.array(self.clicked, pa.int32()),
            ],
            schema=SCHEMA,
        )
