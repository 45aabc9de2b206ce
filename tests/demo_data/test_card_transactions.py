"""Generated card transactions: each day alone, known mistakes, statistics of the published files."""

import datetime as dt
import hashlib
import json
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline_assets.demo_data import DemoDataError, ensure_demo_data
from pipeline_assets.demo_data.card_transactions import generate, write_day
from pipeline_assets.demo_data.cards import Simulation, SimulationSettings
from pipeline_assets.demo_data.cards.bad_rows import KINDS
from pipeline_assets.demo_data.cards.population import RADIUS
from pipeline_assets.spec import Source

START = pd.Timestamp("2018-04-01")


def digest(folder: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.glob("*.parquet")
    }


def settings(**changes) -> SimulationSettings:
    return SimulationSettings(**{"customers": 500, "terminals": 1000, "daily_mean": 2.0, **changes})


def frame(simulation: Simulation, days: range) -> pd.DataFrame:
    return pa.concat_tables([simulation.day(n).table for n in days]).to_pandas()


@pytest.fixture(scope="module")
def published(test_data) -> tuple[pa.Schema, pd.DataFrame]:
    """The published transactions, and the schema of their files."""
    files = sorted((test_data / "card_transactions").glob("*.parquet"))
    table = pa.concat_tables(map(pq.read_table, files))
    return table.schema, table.to_pandas()


@pytest.fixture(scope="module")
def like_published() -> pd.DataFrame:
    """As many customers, terminals, days and payments as were published."""
    simulation = Simulation(settings(customers=5000, terminals=10_000, daily_mean=1.917))
    return frame(simulation, range(136))


def test_a_day_alone_has_the_bytes_that_it_has_among_others(tmp_path, monkeypatch):
    arguments = {"rows": 8000, "days": 8, "seed": 3, "bad_share": 0.02, "drift": 0.2}
    summary = generate(tmp_path / "a", **arguments)
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    generate(tmp_path / "b", **arguments)
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    assert sorted(digest(tmp_path / "a")) == [f"2018-04-{n:02d}.parquet" for n in range(1, 9)]
    restored = {**summary["settings"], "start": dt.date.fromisoformat(summary["settings"]["start"])}
    for number in (5, 2):
        write_day(tmp_path / "c", Simulation(SimulationSettings(**restored)), number)
    alone = digest(tmp_path / "c")
    assert len(alone) == 2 and alone.items() <= digest(tmp_path / "a").items()
    generate(tmp_path / "d", **{**arguments, "seed": 4})
    assert not set(digest(tmp_path / "d").values()) & set(digest(tmp_path / "a").values())
    assert json.loads((tmp_path / "a" / "_summary.json").read_text()) == summary


def test_valid_rows():
    simulation = Simulation(settings(terminals=200))
    rows = frame(simulation, range(10))
    assert rows.TRANSACTION_ID.is_unique and rows.TX_DATETIME.is_monotonic_increasing
    assert not rows.isna().to_numpy().any() and rows.TX_AMOUNT.ge(0).all()
    seconds = (rows.TX_DATETIME - START).dt.total_seconds()
    assert (seconds == rows.TX_TIME_SECONDS).all()
    assert (seconds // 86_400 == rows.TX_TIME_DAYS).all()
    assert ((rows.TX_FRAUD_SCENARIO > 0) == rows.TX_FRAUD).all()
    assert len(rows) == pytest.approx(10_000, rel=0.05)
    people = simulation.population
    distance = np.linalg.norm(
        people.customers[rows.CUSTOMER_ID] - people.terminals[rows.TERMINAL_ID], axis=1
    )
    reached = people.in_reach[rows.CUSTOMER_ID]
    assert 0.6 < reached.mean() < 0.95
    assert distance[reached].max() <= RADIUS < distance[~reached].min()


def test_every_terminal_in_reach_is_as_likely_as_any_other():
    simulation = Simulation(settings(customers=3000, terminals=2000))
    people = simulation.population
    rng = np.random.default_rng(0)
    distance = np.linalg.norm(people.customers[:, None] - people.terminals[None], axis=2)
    # Near two corners the grid of cells ends, but not the circle.
    for corner in ((3, 97), (97, 3), (50, 50)):
        customer = int(np.linalg.norm(people.customers - corner, axis=1).argmin())
        picked = people.pick_terminals(rng, np.full(20_000, customer))
        expected = np.flatnonzero(distance[customer] <= RADIUS)
        counts = np.bincount(picked, minlength=2000)
        assert set(np.flatnonzero(counts)) == set(expected)
        share = 1 / len(expected)
        noise = np.sqrt(20_000 * share * (1 - share))
        assert np.abs(counts[expected] - 20_000 * share).max() <= 4.5 * noise


def test_fraud_is_what_the_scenarios_say():
    simulation = Simulation(settings(customers=5000, terminals=10_000, daily_mean=8.0))
    rows = frame(simulation, range(45))
    scenario = rows.TX_FRAUD_SCENARIO
    assert rows.TX_AMOUNT[scenario == 0].max() <= 220 < rows.TX_AMOUNT[scenario == 1].min()

    def share_of_fraud(entity: str, least: int, days: int) -> tuple[int, float]:
        """Entities with a period of fraud that lies inside of the simulation, and the share in it."""
        frauds = rows[scenario == least].groupby(entity).TX_TIME_DAYS.agg(["min", "max"])
        inside = frauds[(frauds["min"] > 0) & (frauds["max"] < 44)]
        length = inside["max"] - inside["min"] + 1
        # Who has been compromised twice has a longer period; who pays seldom is hard to tell.
        inside = inside[(length > 0.85 * days) & (length <= days)]
        assert (length > days).mean() < 0.1
        among = rows.merge(inside.reset_index(), on=entity)
        among = among[(among["min"] < among.TX_TIME_DAYS) & (among["max"] > among.TX_TIME_DAYS)]
        return len(inside), (least <= among.TX_FRAUD_SCENARIO).mean()

    terminals, share = share_of_fraud("TERMINAL_ID", 2, 28)
    assert terminals > 20 and share == 1
    customers, share = share_of_fraud("CUSTOMER_ID", 3, 14)
    assert customers > 30 and share == pytest.approx(1 / 3, abs=0.05)
    stolen = rows[scenario == 3]
    mean = simulation.population.mean_amount[stolen.CUSTOMER_ID]
    assert (stolen.TX_AMOUNT / mean).mean() == pytest.approx(5, rel=0.05)


def test_bad_rows_have_one_mistake_each_and_known_counts(tmp_path):
    summary = generate(tmp_path / "a", rows=12_000, days=6, bad_share=0.04, seed=5)
    clean = generate(tmp_path / "b", rows=12_000, days=6, bad_share=0, seed=5)
    assert clean["bad_rows"] == {} and clean["rows"] == summary["rows"]
    assert sum(summary["bad_rows"].values()) == 480
    found, seen = Counter(), set()
    for number, path in enumerate(sorted((tmp_path / "a").glob("*.parquet"))):
        valid = pq.read_table(tmp_path / "b" / path.name).to_pandas()
        rows = pq.read_table(path).to_pandas()
        day = START + pd.Timedelta(days=number)
        in_day = rows.TX_DATETIME.dt.normalize() == day
        flags = {
            "null_entity": rows.CUSTOMER_ID.isna() | rows.TERMINAL_ID.isna(),
            "negative_amount": rows.TX_AMOUNT < 0,
            "outside_day": ~in_day & rows.TX_DATETIME.between(START, START + pd.Timedelta(days=7)),
            "before_start": rows.TX_DATETIME < START,
            "future": pd.Timestamp("2100-01-01") < rows.TX_DATETIME,
            "null_time": rows.TX_DATETIME.isna(),
            "duplicate_in_day": rows.TRANSACTION_ID.duplicated(),
            "duplicate_across_days": rows.TRANSACTION_ID.isin(seen),
        }
        counts = {kind: int(flag.sum()) for kind, flag in flags.items()}
        of_day = summary["days"][path.stem]
        assert counts == {**dict.fromkeys(KINDS, 0), **of_day["bad_rows"]}
        wrong = pd.DataFrame(flags).sum(axis=1)
        assert wrong.max() == 1
        # The first of two rows with one id is the valid one; without the bad rows the day is as it was.
        rest = rows[wrong == 0].reset_index(drop=True).astype(valid.dtypes)
        pd.testing.assert_frame_equal(rest, valid)
        assert of_day["rows"] == len(valid)
        seen |= set(valid.TRANSACTION_ID)
        found += Counter(counts)
    assert found == summary["bad_rows"]
    assert summary["days"]["2018-04-01"]["bad_rows"].get("duplicate_across_days") is None


def test_shift_and_drift_move_amounts_and_drift_adds_fraud():
    def medians(**changes) -> tuple[float, float, float]:
        rows = frame(Simulation(settings(customers=3000, terminals=3000, **changes)), range(60))
        amounts = rows[rows.TX_FRAUD == 0].groupby(rows.TX_TIME_DAYS // 15).TX_AMOUNT.median()
        fraud = rows[rows.TX_TIME_DAYS >= 30].TX_FRAUD_SCENARIO
        return amounts.iloc[0], amounts.iloc[-1], (fraud > 1).mean()

    still, shifted, drifting = medians(), medians(shift=-0.5), medians(drift=-0.8)
    assert still[1] == pytest.approx(still[0], rel=0.04)
    assert shifted[:2] == pytest.approx(np.multiply(still[:2], np.exp(-0.355)), rel=0.02)
    assert drifting[1] == pytest.approx(still[1] * np.exp(-0.71 * 0.8 * 52 / 30), rel=0.05)
    assert drifting[2] < 0.75 * still[2]


def test_types_of_the_published_files(published, tmp_path):
    write_day(tmp_path, Simulation(settings(bad_share=0.05)), 0)
    schema = pq.read_schema(tmp_path / "2018-04-01.parquet")
    assert schema.equals(published[0].remove_metadata())


def test_statistics_of_the_published_files(published, like_published):
    real, ours = published[1], like_published
    assert len(ours) == pytest.approx(len(real), rel=0.01)
    assert ours.TX_FRAUD.mean() == pytest.approx(real.TX_FRAUD.mean(), rel=0.1)
    scenarios = [rows.TX_FRAUD_SCENARIO.value_counts().sort_index() for rows in (real, ours)]
    np.testing.assert_allclose(scenarios[1], scenarios[0], rtol=0.2)
    at = [0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99]
    for column in ("TX_AMOUNT", "time_of_day"):
        values = [
            rows.assign(time_of_day=rows.TX_TIME_SECONDS % 86_400)[column].quantile(at)
            for rows in (real, ours)
        ]
        np.testing.assert_allclose(values[1], values[0], rtol=0.1)
    for entity, other in (("CUSTOMER_ID", "TERMINAL_ID"), ("TERMINAL_ID", "CUSTOMER_ID")):
        summaries = []
        for rows in (real, ours):
            groups = rows.groupby(entity)
            sizes, means = groups.size(), groups.TX_AMOUNT.mean()
            partners = groups[other].nunique()
            summaries.append([f(s) for s in (sizes, means, partners) for f in (np.mean, np.std)])
        np.testing.assert_allclose(summaries[1], summaries[0], rtol=0.15)
    daily = [rows.groupby("TX_TIME_DAYS").size().std() for rows in (real, ours)]
    assert daily[1] == pytest.approx(daily[0], rel=0.25)


@pytest.mark.parametrize(("rows", "customers", "terminals"), [(1, 1, 1), (50, 3, 2), (5, 400, 1)])
def test_tiny_worlds(tmp_path, rows, customers, terminals):
    summary = generate(
        tmp_path / "a", rows=rows, days=3, customers=customers, terminals=terminals, bad_share=0.5
    )
    tables = [pq.read_table(path) for path in sorted((tmp_path / "a").glob("*.parquet"))]
    assert len(tables) == 3
    bad = sum(summary["bad_rows"].values())
    assert sum(t.num_rows for t in tables) == summary["rows"] + bad
    assert sum(day["rows"] for day in summary["days"].values()) == summary["rows"]


def test_the_folder_is_whole_or_not_there(tmp_path, monkeypatch):
    generate(tmp_path / "a", rows=10, days=2)
    with pytest.raises(DemoDataError, match="exists already"):
        generate(tmp_path / "a", rows=10, days=2)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(json, "dumps", full)
    with pytest.raises(OSError, match="No space left"):
        generate(tmp_path / "b", rows=10, days=2)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"days": 0}, "days: 0 is not positive"),
        ({"customers": 0}, "customers: 0 is not positive"),
        ({"terminals": -1}, "terminals: -1 is not positive"),
        ({"start": "1 April"}, "start: '1 April' is not a date"),
        ({"dais": 3, "rows": 5}, "does not take dais, rows; it takes customers, days, drift,"),
    ],
)
def test_options_that_make_no_sense(tmp_path, options, message):
    with pytest.raises(DemoDataError, match=message):
        ensure_demo_data(source(tmp_path / "a", options=options))
    assert not (tmp_path / "a").exists()


def test_a_source_by_partition_generates_the_folder_of_all_partitions(tmp_path):
    uri = tmp_path / "cards" / "{partition}.parquet"
    summary = ensure_demo_data(source(uri, options={"days": 2, "start": dt.date(2020, 2, 28)}))
    assert summary is not None and list(summary["days"]) == ["2020-02-28", "2020-02-29"]
    assert (tmp_path / "cards" / "2020-02-29.parquet").is_file()
    assert ensure_demo_data(source(uri, options={"days": 3})) is None


def source(uri: Path, **demo) -> Source:
    generator = "pipeline_assets.demo_data.card_transactions:generate"
    demo = {"generator": generator, "rows": 100, **demo}
    return Source.model_validate({"uri": str(uri), "format": "parquet", "demo": demo})
