"""Landing files of a recommendation use case: what was clicked, user profiles, product catalogue.

    clicks/YYYY-MM-DD.parquet       impressions with a label; keys `event_id`, `user_id`, `product_id`
    profiles/profiles-*.jsonl       versions of profiles; key `user_id` with `valid_from`
    catalogue/products.csv          products; key `product_id`

Each source can be made alone: they fit each other where rows, seed, shift and options are the same.
Each has a `_truth` folder beside its files, hidden from ingest, with a `summary.json`; that of the clicks also
holds the true probability of each valid row. See `shop` for what the truth is.
"""

import dataclasses
import datetime as dt
import json
import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline_assets.demo_data.errors import DemoDataError
from pipeline_assets.demo_data.label_counts import LabelCounts
from pipeline_assets.demo_data.rows import DAY_SECONDS
from pipeline_assets.demo_data.shop import Day, Shop, ShopSettings
from pipeline_assets.demo_data.shop.catalogue_lines import catalogue_lines
from pipeline_assets.demo_data.shop.profile_lines import profile_lines
from pipeline_assets.demo_data.start_day import start_day
from pipeline_assets.demo_data.streams import random_stream
from pipeline_assets.demo_data.truth import TRUTH_FOLDER
from pipeline_assets.demo_data.whole_folder import whole_folder
from pipeline_assets.lake.parquet import write_parquet

_ROWS_A_USER = 40
_USERS_A_PRODUCT = 3
_USERS_A_FILE = 50_000
_TRUTH_SCHEMA = pa.schema([("event_id", pa.int64()), ("probability", pa.float64())])


def generate(
    target: Path,
    *,
    rows: int,
    seed: int = 0,
    bad_share: float = 0.01,
    shift: float = 0.0,
    only: str | None = None,
    days: int = 30,
    start: str | dt.date = "2025-01-01",
    users: int | None = None,
    products: int | None = None,
    unknown_users: float = 0.03,
    late_users: float = 0.05,
    unlisted_products: float = 0.02,
) -> dict[str, Any]:
    """Write the three sources into folders of their own, all of it or nothing.

    Args:
        target: folder; it may not hold anything yet.
        rows: valid impressions of all days together, on average.
        seed: equal arguments give equal bytes, whatever the number of threads.
        bad_share: bad rows on top in each source, see `ShopSettings`.
        shift: see `ShopSettings`.
        only: `clicks`, `profiles` or `catalogue`: write only this source, into the target itself.
        days: number of files of clicks; profiles hold the versions until then.
        start: first day.
        users: by default so many that each sees 40 products.
        products: a third of the users by default.
        unknown_users: see `ShopSettings`.
        late_users: see `ShopSettings`.
        unlisted_products: see `ShopSettings`.

    Returns:
        By source the content of its `_truth/summary.json`, and the number of impressions as `rows`; with `only`
        the summary of that source. Each has `rows` and `bad_rows` by kind; that of the clicks also `label_rate`,
        `best_possible_auc`, `unmatched_rows` by what they lack (see `shop.Day`), and most of it by day.

    Raises:
        DemoDataError: the folder holds something already, or an argument does not make sense.
    """
    sources = {"clicks": _write_clicks, "profiles": _write_profiles, "catalogue": _write_catalogue}
    if only is not None and only not in sources:
        raise DemoDataError(f"only: {only!r} is none of {', '.join(sources)}")
    if days < 1:
        raise DemoDataError(f"days: {days} is not positive")
    users = max(1, round(rows / _ROWS_A_USER)) if users is None else users
    try:
        settings = ShopSettings(
            users=users,
            products=max(1, users // _USERS_A_PRODUCT) if products is None else products,
            daily_rows=rows / days,
            start=start_day(start),
            seed=seed,
            shift=shift,
            bad_share=bad_share,
            unknown_users=unknown_users,
            late_users=late_users,
            unlisted_products=unlisted_products,
        )
        shop = Shop(settings)
    except ValueError as error:
        raise DemoDataError(str(error)) from error
    with whole_folder(target) as unfinished:
        if only is not None:
            return sources[only](unfinished, shop, days)
        summaries = {name: write(unfinished / name, shop, days) for name, write in sources.items()}
    return {"rows": summaries["clicks"]["rows"], **summaries}


def write_day(folder: Path, shop: Shop, number: int) -> Day:
    """Write the clicks of one day and their truth, in place of those that may be there; never half a file.

    Args:
        folder: landing folder of clicks; made where it is missing.
        shop: the same on all days.
        number: of the day, from 0.
    """
    day = shop.day(number)
    name = f"{day.date.isoformat()}.parquet"
    truth = pa.table([day.valid.id, day.probability], schema=_TRUTH_SCHEMA)
    write_parquet(truth, str(Path(folder) / TRUTH_FOLDER / name))
    write_parquet(day.table, str(Path(folder) / name))
    return day


def _write_clicks(folder: Path, shop: Shop, days: int) -> dict[str, Any]:
    def write(number: int) -> tuple[LabelCounts, dict[str, Any]]:
        day, labels = write_day(folder, shop, number), LabelCounts()
        labels.add(day.probability, day.valid.clicked)
        return labels, {
            "date": day.date.isoformat(),
            "rows": len(day.valid),
            "unmatched_rows": day.unmatched,
            "bad_rows": day.bad_rows,
        }

    labels, unmatched, bad_rows, by_day = LabelCounts(), Counter(), Counter(), {}
    with ThreadPoolExecutor(min(days, os.cpu_count() or 1)) as pool:
        for of_day, counts in pool.map(write, range(days)):
            labels.include(of_day)
            unmatched.update(counts["unmatched_rows"])
            bad_rows.update(counts["bad_rows"])
            by_day[counts.pop("date")] = counts
    summary = {
        "rows": sum(counts["rows"] for counts in by_day.values()),
        "label_rate": labels.label_rate,
        "best_possible_auc": labels.best_possible_auc,
        "unmatched_rows": dict(unmatched),
        "bad_rows": dict(sorted(bad_rows.items())),
        "days": by_day,
    }
    return _with_settings(folder, shop, days, summary)


def _write_profiles(folder: Path, shop: Shop, days: int) -> dict[str, Any]:
    rows, bad_rows = 0, Counter()
    folder.mkdir(exist_ok=True)
    for number, first in enumerate(range(0, len(shop.users), _USERS_A_FILE)):
        text, count, bad = profile_lines(
            shop.users,
            np.arange(first, min(first + _USERS_A_FILE, len(shop.users))),
            start=shop.settings.start,
            until=days * DAY_SECONDS,
            bad_share=shop.settings.bad_share,
            rng=random_stream(shop.settings.seed, "bad profiles", number),
        )
        (folder / f"profiles-{number:05d}.jsonl").write_text(text, encoding="utf-8")
        rows += count
        bad_rows.update(bad)
    known = shop.users.registered < days * DAY_SECONDS
    summary = {"rows": rows, "users": int(known.sum()), "bad_rows": dict(sorted(bad_rows.items()))}
    return _with_settings(folder, shop, days, summary)


def _write_catalogue(folder: Path, shop: Shop, days: int) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    text, count, bad_rows = catalogue_lines(
        shop.products,
        bad_share=shop.settings.bad_share,
        rng=random_stream(shop.settings.seed, "bad products"),
    )
    (folder / "products.csv").write_text(text, encoding="utf-8")
    summary = {"rows": count, "bad_rows": dict(sorted(bad_rows.items()))}
    return _with_settings(folder, shop, days, summary)


def _with_settings(folder: Path, shop: Shop, days: int, summary: dict[str, Any]) -> dict[str, Any]:
    """The summary as it is written beside the files."""
    settings = {**dataclasses.asdict(shop.settings), "start": shop.settings.start.isoformat()}
    summary = {
        "generator": f"{__name__}:generate",
        "settings": settings,
        "until_day": days,
        **summary,
    }
    (folder / TRUTH_FOLDER).mkdir(parents=True, exist_ok=True)
    text = json.dumps(summary, indent=1) + "\n"
    (folder / TRUTH_FOLDER / "summary.json").write_text(text, encoding="utf-8")
    return summary
