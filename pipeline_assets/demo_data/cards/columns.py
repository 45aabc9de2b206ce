"""Columns of payments: as arrays while they are made, and as the table that is written."""

import datetime as dt
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipeline_assets.demo_data.rows import DAY_SECONDS, MISSING, Rows

SCHEMA = pa.schema(
    [
        ("TRANSACTION_ID", pa.int64()),
        ("TX_DATETIME", pa.timestamp("us")),
        ("CUSTOMER_ID", pa.int64()),
        ("TERMINAL_ID", pa.int64()),
        ("TX_AMOUNT", pa.float64()),
        ("TX_TIME_SECONDS", pa.int64()),
        ("TX_TIME_DAYS", pa.int64()),
        ("TX_FRAUD", pa.int64()),
        ("TX_FRAUD_SCENARIO", pa.int64()),
    ]
)
"""Of the files: the columns and types of the published transactions; times are local and have no zone."""


@dataclass(frozen=True, kw_only=True)
class Payments(Rows):
    """Arrays of one length."""

    id: np.ndarray
    """int64."""
    seconds: np.ndarray
    """int64, since the start of the simulation."""
    customer: np.ndarray
    """int64, `MISSING` for null."""
    terminal: np.ndarray
    """int64, `MISSING` for null."""
    amount: np.ndarray
    """float64, to the cent."""
    scenario: np.ndarray
    """int64, 0 for genuine payments."""
    no_time: np.ndarray
    """bool, True where the timestamp is null."""

    def as_table(self, start: dt.date) -> pa.Table:
        """The table of a file; `start` is the day from which seconds count."""
        times = np.datetime64(start, "us") + self.seconds.astype("timedelta64[s]")
        return pa.table(
            [
                pa.array(self.id),
                pa.array(times, SCHEMA.field("TX_DATETIME").type, mask=self.no_time),
                pa.array(self.customer, mask=self.customer == MISSING),
                pa.array(self.terminal, mask=self.terminal == MISSING),
                pa.array(self.amount),
                pa.array(self.seconds),
                pa.array(self.seconds // DAY_SECONDS),
                pa.array((self.scenario > 0).astype(np.int64)),
                pa.array(self.scenario),
            ],
            schema=SCHEMA,
        )
