"""Business metrics: the handbook's own code as an oracle, the join by row id, the gate, what goes wrong."""

import datetime as dt
import io
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline_assets.evaluation.business import BusinessMetricError, Measured, ScoredRows
from pipeline_assets.evaluation.business.card_precision import card_precision_at_k
from pipeline_assets.evaluation.business.cost_weighted import cost_weighted
from pipeline_assets.evaluation.carried import (
    Carried,
    DatedFeatures,
    read_carried,
    rows_of_known_entities,
)
from pipeline_assets.evaluation.evaluating import evaluate_rows
from pipeline_assets.evaluation.plots import evaluation_plots
from pipeline_assets.evaluation.report import render_report
from pipeline_assets.lake import Lake, Version

CARD_PRECISION = "pipeline_assets.evaluation.business.card_precision:card_precision_at_k"
COSTS = "pipeline_assets.evaluation.business.cost_weighted:cost_weighted"


def scored(rows: int = 4000, seed: int = 0) -> ScoredRows:
    draw = np.random.default_rng(seed)
    cards = draw.integers(0, 300, rows)
    label = (draw.random(rows) < np.where(cards % 7 == 0, 0.2, 0.01)).astype(float)
    score = np.clip(0.5 * label + draw.random(rows) * 0.7, 0, 1)
    day = np.datetime64("2018-08-08") + draw.integers(0, 7, rows).astype("timedelta64[D]")
    return ScoredRows(
        label=label,
        score=score,
        flagged=score >= 0.6,
        event_time=day.astype("datetime64[us]"),
        day=day,
        columns={"card": cards, "amount": draw.exponential(50, rows)},
    )


def handbook_precision(rows: ScoredRows, k: int, remove_detected: bool) -> list[float]:
    """`card_precision_top_k` as the handbook has it, over pandas."""
    table = pd.DataFrame(
        {"day": rows.day, "card": rows.columns["card"], "p": rows.score, "y": rows.label}
    )
    detected: list[int] = []
    found = []
    for day in sorted(table["day"].unique()):
        today = table[table["day"] == day]
        today = today[~today["card"].isin(detected)]
        top = today.groupby("card")[["p", "y"]].max().sort_values("p", ascending=False).head(k)
        hits = list(top[top["y"] == 1].index)
        found.append(len(hits) / k)
        if remove_detected:
            detected.extend(hits)
    return found


@pytest.mark.parametrize("k", [1, 10, 100, 1000])
@pytest.mark.parametrize("exclude", [True, False])
def test_card_precision_equals_the_handbooks(k: int, exclude: bool) -> None:
    rows = scored()
    found = card_precision_at_k(rows, entity="card", k=k, exclude_detected=exclude)
    expected = handbook_precision(rows, k, exclude)
    assert list(found.daily.values()) == pytest.approx(expected)
    assert found.value == pytest.approx(np.mean(expected))
    assert [str(day) for day in found.daily] == [f"2018-08-{n:02d}" for n in range(8, 15)]


def test_rows_without_a_card_are_left_out_and_text_identifies_as_well() -> None:
    rows = scored(500)
    names = np.array([f"card {n:03d}" for n in rows.columns["card"]], dtype=object)
    as_text = ScoredRows(
        label=np.append(rows.label, 1.0),
        score=np.append(rows.score, 1.0),
        flagged=np.append(rows.flagged, True),
        day=np.append(rows.day, rows.day[:1]),
        columns={"card": np.append(names, None)},
    )
    text, number = (card_precision_at_k(of, entity="card", k=20) for of in (as_text, rows))
    assert text.daily == number.daily


def test_savings_by_hand() -> None:
    rows = ScoredRows(
        label=np.array([1.0, 1.0, 0.0, 0.0]),
        score=np.array([0.9, 0.1, 0.8, 0.1]),
        flagged=np.array([True, False, True, False]),
        columns={"amount": np.array([100.0, 20.0, 5.0, np.nan])},
    )
    # Missed: 20 of 120. Alarms: two, at 3 each.
    assert cost_weighted(rows, amount="amount", alarm_cost=3) == pytest.approx(1 - 26 / 120)
    assert cost_weighted(rows, amount="amount") == pytest.approx(1 - 20 / 120)
    nothing = ScoredRows(
        label=np.zeros(4), score=rows.score, flagged=rows.flagged, columns=rows.columns
    )
    assert math.isnan(cost_weighted(nothing, amount="amount"))
    daily = cost_weighted(scored(), amount="amount", alarm_cost=1)
    assert isinstance(daily, Measured) and len(daily.daily) == 7


def carried_of(splits) -> Carried:
    ids = splits["test"].held.row_id
    day = np.datetime64("2018-08-08") + (ids % 7).astype("timedelta64[D]")
    return Carried(
        row_id=ids,
        event_time=day.astype("datetime64[us]"),
        day=day,
        columns={"card": ids % 400, "amount": (ids % 13).astype(float)},
    )


def test_metrics_are_in_report_and_gate_for_model_and_baselines(
    splits, encoding, make_use_case, model
) -> None:
    use_case = make_use_case(
        metrics=[
            {
                "name": "cards_found",
                "function": CARD_PRECISION,
                "options": {"entity": "card", "k": 60},
            },
            {"name": "savings", "function": COSTS, "options": {"amount": "amount"}},
        ],
        gate={"metric": "cards_found", "minimum": 0.99, "baseline": "majority"},
    )
    found = evaluate_rows(
        model=model,
        **splits,
        encoding=encoding,
        use_case=use_case,
        seed=0,
        carried=carried_of(splits),
    )
    for predictor in [found.model, *found.baselines]:
        assert {"cards_found", "savings", "roc_auc"} <= set(predictor.metrics)
        assert len(predictor.daily["cards_found"]) == 7
    value, other = (p.metrics["cards_found"].value for p in (found.model, found.baselines[0]))
    assert value > other
    assert found.comparisons[0].differences["cards_found"].value == pytest.approx(value - other)
    assert found.verdict and not found.verdict.passed
    assert f"Cards found {value:.4f} (at least 0.99 is required)" in found.verdict.reason
    assert type(found).from_json(found.to_json()) == found
    plots = evaluation_plots(found)
    assert {"daily_cards_found", "daily_savings"} <= set(plots)
    page = " ".join(render_report(found, plots=plots).split())
    assert f"{value:.4f}" in page and "entity card, k 60" in page


def missed_share(rows: ScoredRows) -> float:
    """Share of the positive rows that are not flagged: less is better."""
    return float(1 - rows.flagged[rows.label > 0].mean())


@pytest.mark.parametrize(("bound", "passed"), [(1.0, True), (0.0, False)])
def test_the_gate_bounds_metrics_from_above_where_less_is_better(
    splits, encoding, make_use_case, model, bound: float, passed: bool
) -> None:
    declared = {"name": "missed", "function": f"{__name__}:missed_share", "lower_is_better": True}
    use_case = make_use_case(
        metrics=[declared],
        baselines=["majority"],
        gate={"metric": "missed", "minimum": bound, "baseline": None},
    )
    found = evaluate_rows(model=model, **splits, encoding=encoding, use_case=use_case, seed=0)
    assert found.verdict and found.verdict.passed == passed
    assert "Missed" in found.verdict.reason and "at most" in found.verdict.reason


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ({"function": "nowhere:at_all"}, "'mine'.*cannot be loaded"),
        ({"function": "math.pi"}, "not of the form module:function"),
        ({"function": "math:pi"}, "no function but"),
        ({"function": CARD_PRECISION, "options": {"entity": "customer"}}, "add it to features.carried"),
        ({"function": CARD_PRECISION, "options": {"entities": "card"}}, "entities"),
        ({"function": "builtins:repr"}, "a number is expected"),
    ],
)  # fmt: skip
def test_what_cannot_be_measured_says_why(
    splits, encoding, make_use_case, model, metric: dict, message: str
) -> None:
    use_case = make_use_case(metrics=[{"name": "mine", **metric}], baselines=["majority"])
    with pytest.raises(BusinessMetricError, match=message):
        evaluate_rows(
            model=model, **splits, encoding=encoding, use_case=use_case, seed=0,
            carried=carried_of(splits),
        )  # fmt: skip


def test_declared_names_are_checked(make_use_case) -> None:
    with pytest.raises(ValueError, match="'cards' is no metric; known are roc_auc"):
        make_use_case(gate={"metric": "cards"})
    with pytest.raises(ValueError, match="'f1' is the name of another metric"):
        make_use_case(metrics=[{"name": "f1", "function": COSTS}])
    with pytest.raises(ValueError, match=r"'card' does not go along .* features.carried"):
        make_use_case(exclude_known=["card"])


def publish(lake: Lake, day: str, table: pd.DataFrame) -> Version:
    with lake.dataset("cards", "features").stage(day) as staged:
        for number in range(2):
            buffer = io.BytesIO()
            part = table[table["_row_id"] % 2 == number]
            pq.write_table(pa.Table.from_pandas(part, preserve_index=False), buffer)
            staged.write_bytes(f"rows/part-{number}.parquet", buffer.getvalue())
        staged.seal(rows=len(table), schema=[("_row_id", "bigint")])
        return staged.publish()


def transactions() -> pd.DataFrame:
    draw = np.random.default_rng(5)
    rows = 3000
    seconds = draw.integers(0, 21 * 86_400, rows)
    cards = draw.integers(0, 120, rows)
    return pd.DataFrame(
        {
            "_row_id": draw.permutation(rows) - 1500,
            "_time": pd.Timestamp("2018-07-25", tz="UTC").as_unit("us")
            + pd.to_timedelta(seconds, unit="s"),
            "label": (draw.random(rows) < 0.02).astype(np.float32),
            "card": np.where(draw.random(rows) < 0.02, None, cards.astype(str)),
        }
    )


def test_carried_columns_are_joined_by_row_id_and_days_cut_in_the_zone(tmp_path: Path) -> None:
    table = transactions()
    lake = Lake(str(tmp_path))
    versions = [
        publish(lake, str(day), part) for day, part in table.groupby(table["_time"].dt.date)
    ]
    shuffled = table.sample(700, random_state=1)
    found = read_carried(versions, ["card"], timezone="America/New_York").of(
        shuffled["_row_id"].to_numpy()
    )
    assert list(found.columns["card"]) == list(shuffled["card"])
    local = shuffled["_time"].dt.tz_convert("America/New_York").dt.date
    assert [str(day) for day in found.day] == [str(day) for day in local]
    assert (found.event_time == shuffled["_time"].dt.tz_localize(None).to_numpy()).all()
    with pytest.raises(ValueError, match="1 of 2 scored rows"):
        read_carried(versions, [], timezone="UTC").of(np.array([0, 10**9]))
    with pytest.raises(ValueError, match="no column 'amount'"):
        read_carried(versions, ["amount"], timezone="UTC")


def test_cards_known_as_defrauded_leave_the_test_days_as_in_the_handbook(tmp_path: Path) -> None:
    table = transactions()
    table["day"] = (table["_time"] - pd.Timestamp("2018-07-25", tz="UTC")).dt.days
    lake = Lake(str(tmp_path))

    def dated(day: int) -> DatedFeatures:
        start = dt.datetime(2018, 7, 25, tzinfo=dt.UTC) + dt.timedelta(days=day)
        part = table[table["day"] == day].drop(columns="day")
        return DatedFeatures(start, start + dt.timedelta(days=1), publish(lake, f"d{day}", part))

    days = [dated(day) for day in range(21)]
    found = rows_of_known_entities(days, days[14:], ["card"], label_delay=dt.timedelta(days=7))
    # The handbook: frauds of the training week, and day by day those that are seven days old.
    fraud = table[(table["label"] == 1) & table["card"].notna()]
    known = set(fraud[fraud["day"] < 7]["card"])
    expected: list[int] = []
    for day in range(14, 21):
        known |= set(fraud[fraud["day"] == day - 8]["card"])
        today = table[(table["day"] == day) & table["card"].isin(known)]
        expected += list(today["_row_id"])
    assert list(found) == sorted(expected)
    assert 0 < len(expected) < (table["day"] >= 14).sum()


def test_excluded_rows_are_not_judged(splits, encoding, make_use_case, model) -> None:
    use_case = make_use_case(baselines=["majority"])
    excluded = np.sort(splits["test"].held.row_id[::3])
    found = evaluate_rows(
        model=model, **splits, encoding=encoding, use_case=use_case, seed=0, excluded=excluded
    )
    assert found.splits["test"].rows == 1000
    assert found.excluded_rows == 500
    assert "500 test rows are left out" in found.notes[0]
