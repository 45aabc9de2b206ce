"""The 12 rolling features of card transactions by others: SQL windows, DuckDB, Polars, pandas.

Each reads the same Parquet files and writes one Parquet file (the engines: a folder) with row id and the
12 features; none sorts, hashes or divides its output by day, as ours does. Windows are open at their
start like ours, so that all answers agree.
"""

from collections.abc import Callable
from pathlib import Path

DAY = 86_400_000_000
LENGTHS = (1, 7, 30)
DELAY = 7

Contestant = Callable[[list[str], Path], None]


def windows_sql(microseconds: str) -> str:
    """The features as SQL `RANGE` windows; `microseconds` is the SQL of the time as an integer."""
    columns, windows = [], []
    for days in LENGTHS:
        columns += [
            f"count(*) OVER c{days} AS customer_count_{days}d",
            f"avg(TX_AMOUNT) OVER c{days} AS customer_mean_{days}d",
            f"count(*) OVER t{days} AS terminal_count_{days}d",
            f"coalesce(avg(TX_FRAUD) OVER t{days}, 0) AS terminal_risk_{days}d",
        ]
        windows += [
            f"c{days} AS (PARTITION BY CUSTOMER_ID ORDER BY us "
            f"RANGE BETWEEN {days * DAY - 1} PRECEDING AND CURRENT ROW)",
            f"t{days} AS (PARTITION BY TERMINAL_ID ORDER BY us RANGE BETWEEN "
            f"{(days + DELAY) * DAY - 1} PRECEDING AND {DELAY * DAY} PRECEDING)",
        ]
    return (
        f"SELECT _row_id, {', '.join(columns)} FROM (SELECT *, {microseconds} AS us FROM events) "
        f"WINDOW {', '.join(windows)}"
    )


def spark_sql(spark) -> Contestant:
    """SQL windows on a PySpark session of either engine."""

    def run(files: list[str], target: Path) -> None:
        spark.read.parquet(*files).createOrReplaceTempView("events")
        answer = spark.sql(windows_sql("unix_micros(TX_DATETIME)"))
        answer.write.mode("overwrite").parquet(str(target))

    return run


def duckdb_sql(files: list[str], target: Path) -> None:
    """SQL windows in DuckDB."""
    import duckdb

    with duckdb.connect() as connection:
        connection.execute(f"CREATE VIEW events AS SELECT * FROM read_parquet({files!r})")
        query = windows_sql("epoch_us(TX_DATETIME)")
        connection.execute(f"COPY ({query}) TO '{target}' (FORMAT parquet, COMPRESSION zstd)")


def polars_rolling(files: list[str], target: Path) -> None:
    """`rolling` of a lazy frame, grouped by customer or terminal."""
    import polars as pl

    events = pl.scan_parquet(files).select(
        "_row_id", "TX_DATETIME", "CUSTOMER_ID", "TERMINAL_ID", "TX_AMOUNT", "TX_FRAUD"
    )
    by_customer = events.sort("CUSTOMER_ID", "TX_DATETIME").collect()
    by_terminal = events.sort("TERMINAL_ID", "TX_DATETIME").collect()
    # The rows of a rolling answer are in the order of the sorted rows.
    customer = [by_customer.select("_row_id")]
    terminal = [by_terminal.select("_row_id")]
    for days in LENGTHS:
        customer.append(
            by_customer.rolling(
                "TX_DATETIME", period=f"{days}d", group_by="CUSTOMER_ID", closed="right"
            )
            .agg(
                pl.len().alias(f"customer_count_{days}d"),
                pl.col("TX_AMOUNT").mean().alias(f"customer_mean_{days}d"),
            )
            .drop("CUSTOMER_ID", "TX_DATETIME")
        )
        terminal.append(
            by_terminal.rolling(
                "TX_DATETIME",
                period=f"{days}d",
                offset=f"-{days + DELAY}d",
                group_by="TERMINAL_ID",
                closed="right",
            )
            .agg(
                pl.len().alias(f"terminal_count_{days}d"),
                pl.col("TX_FRAUD").mean().fill_null(0).alias(f"terminal_risk_{days}d"),
            )
            .drop("TERMINAL_ID", "TX_DATETIME")
        )
    answer = pl.concat(customer, how="horizontal").join(
        pl.concat(terminal, how="horizontal"), on="_row_id"
    )
    answer.write_parquet(target, compression="zstd")


def pandas_rolling(files: list[str], target: Path) -> None:
    """`groupby().rolling()`; the delayed windows as differences, as the fraud handbook does it."""
    import pandas as pd
    import pyarrow.parquet as pq

    events = pd.concat([pq.read_table(file).to_pandas() for file in files], ignore_index=True)
    events["one"] = 1.0
    answer = events[["_row_id"]].copy()

    def sums(entity: str, column: str, days: int) -> pd.Series:
        windows = ordered.set_index("TX_DATETIME").groupby(entity)[column].rolling(f"{days}d")
        return pd.Series(windows.sum().to_numpy(), ordered.index)

    ordered = events.sort_values(["CUSTOMER_ID", "TX_DATETIME"])
    for days in LENGTHS:
        count = sums("CUSTOMER_ID", "one", days)
        answer[f"customer_count_{days}d"] = count
        answer[f"customer_mean_{days}d"] = sums("CUSTOMER_ID", "TX_AMOUNT", days) / count
    ordered = events.sort_values(["TERMINAL_ID", "TX_DATETIME"])
    young = {column: sums("TERMINAL_ID", column, DELAY) for column in ("one", "TX_FRAUD")}
    for days in LENGTHS:
        count = sums("TERMINAL_ID", "one", days + DELAY) - young["one"]
        fraud = sums("TERMINAL_ID", "TX_FRAUD", days + DELAY) - young["TX_FRAUD"]
        answer[f"terminal_count_{days}d"] = count
        answer[f"terminal_risk_{days}d"] = (fraud / count).fillna(0)
    answer.to_parquet(target, compression="zstd")
