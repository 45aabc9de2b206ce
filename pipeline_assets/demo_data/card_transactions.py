"""Landing files of card transactions: `YYYY-MM-DD.parquet`, one for each day, with known fraud.

Columns and statistics are those of the transactions published with the "Reproducible Machine Learning
for Credit Card Fraud Detection - Practical Handbook"; see `cards`. A further day, as if it had just arrived:

>>> settings = SimulationSettings(customers=1000, terminals=2000, daily_mean=2)      # doctest: +SKIP
>>> write_day(Path("data/landing/card_fraud"), Simulation(settings), 60)             # doctest: +SKIP
"""

import dataclasses
import datetime as dt
import json
import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pipeline_assets.demo_data.cards import Day, Simulation, SimulationSettings
from pipeline_assets.demo_data.errors import DemoDataError
from pipeline_assets.demo_data.start_day import start_day
from pipeline_assets.demo_data.whole_folder import whole_folder
from pipeline_assets.lake.parquet import write_parquet

SUMMARY = "_summary.json"
"""Hidden from ingest by its name."""

_ROWS_A_DAY = 2.0  # of a customer in the handbook, on average
_TERMINALS_A_CUSTOMER = 2


def generate(
    target: Path,
    *,
    rows: int,
    seed: int = 0,
    bad_share: float = 0.01,
    shift: float = 0.0,
    days: int = 60,
    start: str | dt.date = "2018-04-01",
    customers: int | None = None,
    terminals: int | None = None,
    drift: float = 0.0,
) -> dict[str, Any]:
    """Write one file for each day and `_summary.json` into a folder, all of it or nothing.

    Args:
        target: folder; it may not hold anything yet.
        rows: valid rows of all days together, on average.
        seed: equal arguments give equal bytes, whatever the number of threads.
        bad_share: bad rows on top, see `SimulationSettings`.
        shift: see `SimulationSettings`.
        days: number of files.
        start: first day.
        customers: among whom the rows are divided; by default so many that each has 2 a day.
        terminals: twice the number of customers by default.
        drift: see `SimulationSettings`.

    Returns:
        The content of `_summary.json`: the settings, `rows`, `scenarios`, `bad_rows` by kind, `fraud_share` of
        the valid rows, and by day the first three of these.

    Raises:
        DemoDataError: the folder holds something already, or a number does not make sense.
    """
    if customers is None:
        customers = max(1, round(rows / max(1, days) / _ROWS_A_DAY))
    settings = SimulationSettings(
        customers=customers,
        terminals=_TERMINALS_A_CUSTOMER * customers if terminals is None else terminals,
        daily_mean=rows / max(1, days) / max(1, customers),
        start=start_day(start),
        seed=seed,
        shift=shift,
        drift=drift,
        bad_share=bad_share,
    )
    if days < 1:
        raise DemoDataError(f"days: {days} is not positive")
    try:
        simulation = Simulation(settings)
    except ValueError as error:
        raise DemoDataError(str(error)) from error
    with whole_folder(target) as unfinished:
        with ThreadPoolExecutor(min(days, os.cpu_count() or 1)) as pool:
            written = pool.map(lambda n: _counts(write_day(unfinished, simulation, n)), range(days))
            by_day = {
                (settings.start + dt.timedelta(days=n)).isoformat(): counts
                for n, counts in enumerate(written)
            }
        summary = {
            "generator": f"{__name__}:generate",
            "settings": {**dataclasses.asdict(settings), "start": settings.start.isoformat()},
            **_total(list(by_day.values())),
            "days": by_day,
        }
        text = json.dumps(summary, indent=1) + "\n"
        (unfinished / SUMMARY).write_text(text, encoding="utf-8")
    return summary


def write_day(folder: Path, simulation: Simulation, number: int) -> Day:
    """Write the file of one day, in place of one that may be there; it is never seen half written.

    Args:
        folder: landing folder; made where it is missing.
        simulation: the same on all days.
        number: of the day, from 0.
    """
    day = simulation.day(number)
    write_parquet(day.table, str(Path(folder) / f"{day.date.isoformat()}.parquet"))
    return day


def _counts(day: Day) -> dict[str, Any]:
    return {"rows": day.rows, "scenarios": day.scenarios, "bad_rows": day.bad_rows}


def _total(days: list[dict[str, Any]]) -> dict[str, Any]:
    scenarios, bad_rows = Counter(), Counter()
    for day in days:
        scenarios.update(day["scenarios"])
        bad_rows.update(day["bad_rows"])
    rows = sum(day["rows"] for day in days)
    return {
        "rows": rows,
        "scenarios": dict(scenarios),
        "bad_rows": dict(sorted(bad_rows.items())),
        "fraud_share": 1 - scenarios["genuine"] / rows if rows else 0.0,
    }
