"""Generated clicks, profiles and products: one truth in three files, known gaps, known mistakes."""

import datetime as dt
import hashlib
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import roc_auc_score

from pipeline_assets.demo_data import DemoDataError, ensure_demo_data
from pipeline_assets.demo_data.bank_churn import best_possible_auc
from pipeline_assets.demo_data.recommendation import generate, write_day
from pipeline_assets.demo_data.shop import Shop, ShopSettings
from pipeline_assets.spec import Source

START = pd.Timestamp("2025-01-01", tz="UTC")


def digest(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def clicks(folder: Path) -> pd.DataFrame:
    return pd.concat([pd.read_parquet(p) for p in sorted(folder.glob("clicks/*.parquet"))])


def profiles(folder: Path) -> pd.DataFrame:
    lines = [
        json.loads(line)
        for path in sorted(folder.glob("profiles/*.jsonl"))
        for line in path.read_text().splitlines()
        if line.endswith("}")
    ]
    table = pd.DataFrame(lines)
    return table.assign(valid_from=pd.to_datetime(table.valid_from).dt.as_unit("us"))


@pytest.fixture(scope="module")
def clean(tmp_path_factory) -> tuple[Path, dict]:
    """Files without mistakes, and their summary."""
    folder = tmp_path_factory.mktemp("shop") / "a"
    return folder, generate(folder, rows=60_000, bad_share=0, seed=2, days=45)


def joined(folder: Path, *, as_of: bool) -> pd.DataFrame:
    """Impressions with the catalogue and the profile as of their time, or the last one there is."""
    left = clicks(folder).sort_values(["time", "event_id"])
    versions = profiles(folder).sort_values("valid_from", kind="stable")
    if as_of:
        right = pd.merge_asof(left, versions, left_on="time", right_on="valid_from", by="user_id")
    else:
        right = left.merge(versions.drop_duplicates("user_id", keep="last"), "left", on="user_id")
    return right.merge(pd.read_csv(folder / "catalogue" / "products.csv"), "left", on="product_id")


def probability(rows: pd.DataFrame) -> pd.Series:
    """The documented truth, from nothing but the joined rows."""
    product = 0.7 * (rows.rating.fillna(3.9) - 3.9) - 0.2 * np.log(rows.price / 25)
    age = (2025 - rows.birth_year).fillna(40)
    profile = 0.4 * (rows.plan == "premium") - 0.015 * (age - 40)
    too_dear = np.log(rows.price / rows.monthly_spend).clip(lower=0)
    match = 1.8 * (rows.favourite == rows.category) - 0.9 * too_dear
    logit = -2.3 - 0.5 * np.log(rows.position) + 0.2 * (rows.time.dt.hour >= 18)
    known = rows.plan.notna()
    logit += product.fillna(0) + profile.where(known, 0) + match.fillna(0)
    return 1 / (1 + np.exp(-logit))


def test_the_joined_files_hold_the_whole_truth(clean):
    folder, summary = clean
    rows = joined(folder, as_of=True).set_index("event_id")
    truth = pd.concat(
        [pd.read_parquet(p) for p in sorted((folder / "clicks" / "_truth").glob("*.parquet"))]
    ).set_index("event_id")
    assert list(truth.columns) == ["probability"] and truth.index.is_unique
    np.testing.assert_allclose(probability(rows)[truth.index], truth.probability, atol=6e-7)

    labels = rows.clicked[truth.index]
    best = summary["clicks"]["best_possible_auc"]
    assert best == pytest.approx(roc_auc_score(labels, truth.probability), abs=1e-12)
    assert best_possible_auc(str(folder / "clicks")) == best
    assert 0.74 < best < 0.78 and 0.07 < summary["clicks"]["label_rate"] < 0.11
    variance = (truth.probability * (1 - truth.probability)).sum()
    assert abs(labels.sum() - truth.probability.sum()) < 4 * np.sqrt(variance)
    # A join that takes the last version instead of the valid one is worse.
    last = joined(folder, as_of=False).set_index("event_id")
    assert roc_auc_score(labels, probability(last)[truth.index]) < best - 0.005


def test_unmatched_rows_are_counted(clean):
    folder, summary = clean
    rows = joined(folder, as_of=True)
    ever = rows.user_id.isin(profiles(folder).user_id)
    registered_later = {
        "no_profile": ~ever,
        "later_profile": ever & rows.plan.isna(),
        "no_product": rows.category.isna(),
        "any": rows.plan.isna() | rows.category.isna(),
    }
    counts = {name: int(lacking.sum()) for name, lacking in registered_later.items()}
    assert summary["clicks"]["unmatched_rows"] == counts
    shares = {name: count / len(rows) for name, count in counts.items()}
    assert shares == pytest.approx(
        {"no_profile": 0.03, "later_profile": 0.02, "no_product": 0.02, "any": 0.07}, abs=0.012
    )
    whole = ShopSettings(
        users=50, products=9, daily_rows=500, unknown_users=0, late_users=0, unlisted_products=0
    )
    assert Shop(whole).day(0).unmatched["any"] == 0


def test_rows(clean):
    folder, summary = clean
    rows = clicks(folder)
    assert len(rows) == summary["rows"] == pytest.approx(60_000, rel=0.03)
    assert rows.event_id.is_unique and rows.time.is_monotonic_increasing
    assert not rows.isna().to_numpy().any()
    pages = rows.groupby(np.arange(len(rows)) // 5)
    assert (pages.time.nunique() == 1).all() and (pages.user_id.nunique() == 1).all()
    assert (pages.position.agg(tuple) == (1, 2, 3, 4, 5)).all()
    for number, path in enumerate(sorted((folder / "clicks").glob("*.parquet"))):
        day = START + pd.Timedelta(days=number)
        assert path.stem == str(day.date())
        assert (pd.read_parquet(path).time.dt.floor("D") == day).all()
    versions = profiles(folder)
    assert not versions.duplicated(["user_id", "valid_from"]).any()
    assert versions.valid_from.max() < START + pd.Timedelta(days=45)
    assert len(versions) == summary["profiles"]["rows"] > 3 * versions.user_id.nunique()
    assert versions.user_id.nunique() == summary["profiles"]["users"]
    by_user = versions.groupby("user_id")
    country, plan, favourite = (
        by_user[c].nunique().mean() for c in ("country", "plan", "favourite")
    )
    assert country == 1 < plan < favourite < 3


def test_the_platform_reads_all_of_it(tmp_path, spark):
    from pipeline_assets.ingest import ingest
    from pipeline_assets.lake import Lake
    from pipeline_assets.spec.contract import Contract

    summary = generate(tmp_path / "a", rows=3000, days=3, bad_share=0.03)
    columns = {
        "clicks": {"event_id": "int64", "time": "timestamp", "clicked": "int32"},
        "profiles": {"user_id": "int64", "valid_from": "timestamp", "birth_year": "int32"},
        "catalogue": {"product_id": "string", "price": "float64", "rating": "float64"},
    }
    formats = {"clicks": "parquet", "profiles": "jsonl", "catalogue": "csv"}
    for name, types in columns.items():
        uri = str(tmp_path / "a" / name)
        contract = Contract.model_validate(
            {"key": [*types][:1], "columns": [{"name": n, "type": t} for n, t in types.items()]}
        )
        with Lake(str(tmp_path / "lake")).dataset("shop", name).stage() as staged:
            source = Source.model_validate({"uri": uri, "format": formats[name]})
            result = ingest(spark, source, contract, staged)
        bad = summary[name]["bad_rows"]
        malformed = bad.pop("malformed_line", 0)
        assert (result.rows, result.malformed_rows) == (
            summary[name]["rows"] + sum(bad.values()),
            malformed,
        )


def test_each_day_and_each_source_alone_has_the_same_bytes(tmp_path, monkeypatch):
    arguments = {"rows": 4000, "days": 6, "seed": 3, "bad_share": 0.02}
    summary = generate(tmp_path / "a", **arguments)
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    for name in ("clicks", "profiles", "catalogue"):
        alone = generate(tmp_path / name, only=name, **arguments)
        assert digest(tmp_path / name) == digest(tmp_path / "a" / name)
        assert alone == summary[name]
        assert alone == json.loads((tmp_path / name / "_truth" / "summary.json").read_text())
    settings = summary["clicks"]["settings"]
    shop = Shop(ShopSettings(**{**settings, "start": dt.date.fromisoformat(settings["start"])}))
    write_day(tmp_path / "b", shop, 4)
    assert len(digest(tmp_path / "b")) == 2
    assert digest(tmp_path / "b").items() <= digest(tmp_path / "clicks").items()
    generate(tmp_path / "c", **{**arguments, "seed": 4})
    assert not set(digest(tmp_path / "c").values()) & set(digest(tmp_path / "a").values())


def test_bad_rows_have_one_mistake_each_and_known_counts(tmp_path):
    folder = tmp_path / "a"
    arguments: dict[str, Any] = {"rows": 12_000, "days": 4, "products": 400, "seed": 1}
    summary = generate(folder, bad_share=0.03, **arguments)
    generate(tmp_path / "b", bad_share=0, **arguments)

    found = Counter()
    for number, path in enumerate(sorted((folder / "clicks").glob("*.parquet"))):
        rows, day = pd.read_parquet(path), START + pd.Timedelta(days=number)
        flags = pd.DataFrame(
            {
                "null_entity": rows.user_id.isna() | rows.product_id.isna(),
                "unknown_label": ~rows.clicked.isin([0, 1]),
                "out_of_range": rows.position < 1,
                "outside_day": rows.time.notna() & (rows.time.dt.floor("D") != day),
                "null_time": rows.time.isna(),
                "duplicate_in_day": rows.event_id.duplicated(),
            }
        )
        assert flags.sum(axis=1).max() == 1
        assert flags.sum().to_dict() == summary["clicks"]["days"][path.stem]["bad_rows"]
        found += Counter(flags.sum().to_dict())
        valid = pq.read_table(tmp_path / "b" / "clicks" / path.name).to_pandas()
        rest = rows[~flags.any(axis=1)].reset_index(drop=True).astype(valid.dtypes)
        pd.testing.assert_frame_equal(rest, valid)
        truth = pd.read_parquet(folder / "clicks" / "_truth" / path.name)
        assert truth.event_id.tolist() == valid.event_id.tolist()
    assert dict(found) == summary["clicks"]["bad_rows"] and found.total() == 360

    lines = (folder / "profiles" / "profiles-00000.jsonl").read_text().splitlines()
    versions = profiles(folder)
    bad = summary["profiles"]["bad_rows"]
    assert bad["malformed_line"] == len(lines) - len(versions) > 5
    flags = pd.DataFrame(
        {
            "unknown_plan": versions.plan == "platinum",
            "null_time": versions.valid_from.isna(),
            "duplicate_version": versions.valid_from.notna()
            & versions.duplicated(["user_id", "valid_from"]),
        }
    )
    assert flags.sum(axis=1).max() == 1
    assert flags.sum().to_dict() == {kind: bad[kind] for kind in flags}
    rest = versions[~flags.any(axis=1)].reset_index(drop=True)
    pd.testing.assert_frame_equal(rest, profiles(tmp_path / "b"))

    text = (folder / "catalogue" / "products.csv").read_text().splitlines()
    fields = [line.split(",") for line in text]
    products = pd.DataFrame([f for f in fields[1:] if len(f) == 5], columns=fields[0])
    flags = pd.DataFrame(
        {
            "negative_price": products.price.astype(float) < 0,
            "duplicate_key": products.product_id.duplicated(),
        }
    )
    bad = summary["catalogue"]["bad_rows"]
    assert bad == {
        "malformed_line": len(fields) - 1 - len(products),
        **flags.sum().to_dict(),
    }
    assert flags.sum(axis=1).max() == 1 and bad["duplicate_key"] == 4
    rest = products[~flags.any(axis=1)].agg(",".join, axis=1).tolist()
    assert rest == (tmp_path / "b" / "catalogue" / "products.csv").read_text().splitlines()[1:]


def test_shift_moves_prices_and_nothing_else_but_clicks():
    still, moved = (
        Shop(ShopSettings(users=300, products=500, daily_rows=1000, shift=shift))
        for shift in (0.0, 0.5)
    )
    ratio = np.median(moved.products.price / still.products.price)
    assert ratio == pytest.approx(np.exp(0.45), rel=0.01)
    assert (still.products.category == moved.products.category).all()
    one, other = still.day(3).valid, moved.day(3).valid
    assert (one.product == other.product).all() and (one.seconds == other.seconds).all()
    assert one.clicked.sum() > other.clicked.sum()


@pytest.mark.parametrize("rows", [1, 12])
def test_very_few_rows(tmp_path, rows):
    summary = generate(tmp_path / "a", rows=rows, days=2, bad_share=0.5)
    tables = [pq.read_table(path) for path in (tmp_path / "a" / "clicks").glob("*.parquet")]
    bad = sum(summary["clicks"]["bad_rows"].values())
    assert sum(table.num_rows for table in tables) == summary["rows"] + bad


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"only": "orders"}, "only: 'orders' is none of clicks, profiles, catalogue"),
        ({"days": 0}, "days: 0 is not positive"),
        ({"users": 0}, "users: 0 is not positive"),
        ({"late_users": 1.5}, "late_users: 1.5 is not a share"),
        ({"start": "today"}, "start: 'today' is not a date"),
        ({"terminals": 3}, "does not take terminals; it takes days, late_users"),
    ],
)
def test_options_that_make_no_sense(tmp_path, options, message):
    demo = {"generator": "pipeline_assets.demo_data.recommendation:generate", "options": options}
    source = {"uri": str(tmp_path / "a"), "format": "parquet", "demo": demo}
    with pytest.raises(DemoDataError, match=message):
        ensure_demo_data(Source.model_validate(source))
    assert not list(tmp_path.iterdir())
