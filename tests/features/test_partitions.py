"""Feature tables of partitions: contents, and bytes that depend on the rows alone, on both engines."""

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import timed
from timed import DAYS, publish_features, publish_validated, read

from pipeline_assets.features import partition_job, partitions
from pipeline_assets.features.frame import FeatureError, label_sql
from pipeline_assets.features.rolling.kernel import rolling_features
from pipeline_assets.features.rolling.plan import rolling_plan
from pipeline_assets.lake import Lake
from pipeline_assets.spec import UseCase


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


def directly(table: pa.Table, case: UseCase) -> dict[str, np.ndarray]:
    """The rolling features of all rows by the kernel alone; its inputs made by pyarrow, not by SQL."""
    plan = rolling_plan(case, label_sql(case))
    amount = table["amount"]
    columns = {
        "CAST(amount AS DOUBLE)": amount,
        "CAST(amount * 2 AS DOUBLE)": pc.multiply(amount, 2.0),
        "(amount > 40) IS TRUE": pc.greater(amount, 40.0),
        "shop": table["shop"],
        "`shop`": table["shop"],
        "`card`": table["card"],
        label_sql(case): table["fraud"].cast(pa.float64()),
    }
    columns = {name: columns[sql] for name, sql in plan.columns.items()}
    prepared = pa.table({"_time": table["at"].cast(pa.int64()), **columns})
    found: dict[str, np.ndarray] = {}
    for group in plan.groups:
        features = rolling_features(prepared, group, np.arange(len(table)))
        found |= dict(zip(group.names, features))
    return found


def equal(one: pa.Table, other: pa.Table) -> bool:
    """NaN equals NaN."""
    return one.to_pandas().equals(other.to_pandas())


def test_columns_values_and_what_is_reported(spark: Any, lake: Lake) -> None:
    case, table = timed.use_case(), timed.rows()
    validated = publish_validated(lake, table, case)
    results, versions = publish_features(spark, lake, DAYS, validated, case)
    assert list(results) == DAYS
    rolling = directly(table, case)
    of_row = {row_id: position for position, row_id in enumerate(table["_row_id"].to_pylist())}
    assert sum(version.rows for version in versions.values()) == len(table)
    for key in DAYS:
        result, found = results[key], read(versions[key])
        assert found.column_names == [name for name, _ in result.schema]
        assert found.column_names[:5] == ["_row_id", "_time", "label", "log_amount", "hour"]
        assert found.column_names[-3:] == ["card", "amount", "at"]
        assert found.schema.field("_time").type == pa.timestamp("us", tz="UTC")
        assert found.schema.field("card_count_6h").type == pa.float32()
        ids = found["_row_id"].to_numpy()
        assert (np.diff(ids) > 0).all()
        source = table.take([of_row[row_id] for row_id in ids.tolist()])
        for name in ("card", "amount", "at"):
            assert found[name].to_pylist() == source[name].to_pylist()
        assert found["_time"].to_pylist() == source["at"].to_pylist()
        assert found["label"].to_pylist() == source["fraud"].to_pylist()
        np.testing.assert_allclose(
            found["log_amount"].to_numpy(),
            np.log1p(source["amount"].to_numpy(zero_copy_only=False)),
            rtol=1e-6,
        )
        positions = [of_row[row_id] for row_id in ids.tolist()]
        for name, values in rolling.items():
            ours = found[name].to_numpy()
            assert ours.tobytes() == values[positions].tobytes(), name
        rate = source["fraud"].to_numpy().mean()
        assert (result.split_rows, result.rows) == ({"all": len(found)}, len(found))
        assert result.label_rates == {"all": pytest.approx(rate)}
        assert result.infinite == {}
    lineage = results[DAYS[0]].lineage
    assert lineage["card_shops_1d"] == ["at", "card", "shop"]
    assert lineage["shop_label_rate_2d"] == ["at", "fraud", "shop"]
    assert lineage["large_max_2d"] == ["amount", "at", "card", "shop"]
    assert lineage["_time"] == ["at"]


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin"])
def test_one_by_one_or_in_a_range_in_any_tasks_gives_the_same_bytes(
    spark: Any, lake: Lake, zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = timed.use_case(time={"timezone": zone})
    table = timed.rows(case=case)
    validated = publish_validated(lake, table, case)
    _, together = publish_features(spark, lake, DAYS, validated, case)
    for key in DAYS:
        _, alone = publish_features(spark, lake, [key], validated, case)
        assert alone[key].data_version == together[key].data_version
    shuffled = table.take(np.random.default_rng(4).permutation(len(table)))
    elsewhere = Lake(lake.uri + "_shuffled")
    again = publish_validated(elsewhere, shuffled, case, files=3)
    monkeypatch.setattr(partitions, "ROWS_PER_PASS", 1500)
    monkeypatch.setattr(partition_job, "ROWS_PER_TASK", 100)
    monkeypatch.setattr(partition_job, "ROWS_TOGETHER", 0)
    _, cut_up = publish_features(spark, elsewhere, DAYS[::-1], again, case)
    assert {k: v.data_version for k, v in cut_up.items()} == {
        k: v.data_version for k, v in together.items()
    }


def test_a_large_partition_has_several_files(
    spark: Any, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    case, table = timed.use_case(), timed.rows()
    validated = publish_validated(lake, table, case)
    _, whole = publish_features(spark, lake, DAYS[1:3], validated, case)
    monkeypatch.setattr(partition_job, "ROWS_PER_FILE", 150)
    _, parts = publish_features(spark, lake, DAYS[1:3], validated, case)
    for key in DAYS[1:3]:
        assert len(parts[key].files("rows", ".parquet")) == -(-validated[key].rows // 150)
        assert equal(read(parts[key]).sort_by("_row_id"), read(whole[key]))


@pytest.mark.spark
@pytest.mark.parametrize("together", [2_000_000, 0])
def test_both_engines_give_the_same_bytes(
    spark: Any, apache_spark: Any, lake: Lake, together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one task, and in several: the card with a third of the events has a task that is larger."""
    monkeypatch.setattr(partition_job, "ROWS_TOGETHER", together)
    monkeypatch.setattr(partition_job, "ROWS_PER_TASK", 500)
    case = timed.use_case()
    validated = publish_validated(lake, timed.rows(), case)
    found = []
    for session in (spark, apache_spark):
        _, versions = publish_features(session, lake, DAYS[2:], validated, case)
        found.append({key: version.data_version for key, version in versions.items()})
    assert found[0] == found[1]


def test_labels_that_were_unknown_change_no_feature(spark: Any, lake: Lake) -> None:
    """Other labels within the delay before the end of the day: same features. Older ones: not."""
    case, table = timed.use_case(), timed.rows()
    key = DAYS[4]
    assert case.time is not None
    delay, end = case.time.label_delay, dt.datetime(2026, 3, 31, tzinfo=dt.UTC)
    rates = [name for name in case.features.rolling_names if "label_rate" in name]

    def features(flipped: pa.ChunkedArray) -> tuple[pa.Table, pa.Table]:
        labels = pc.if_else(flipped, pc.subtract(1, table["fraud"]), table["fraud"])
        at = table.column_names.index("fraud")
        changed = table.set_column(at, "fraud", labels.cast(pa.int32()))
        validated = publish_validated(lake, changed, case)
        _, versions = publish_features(spark, lake, [key], validated, case)
        found = read(versions[key])
        return found.select(case.features.rolling_names), found.select(rates)

    nothing = features(pc.less(table["at"], pa.scalar(dt.datetime(1990, 1, 1, tzinfo=dt.UTC))))
    unknown = features(pc.greater(table["at"], pa.scalar(end - delay)))
    known = features(pc.less_equal(table["at"], pa.scalar(end - delay)))
    assert equal(unknown[0], nothing[0])
    assert not equal(known[1], nothing[1])


def test_only_the_history_that_windows_reach_is_needed(spark: Any, lake: Lake) -> None:
    case, table = timed.use_case(), timed.rows()
    validated = publish_validated(lake, table, case)
    _, whole = publish_features(spark, lake, [DAYS[4]], validated, case)
    reached = {key: validated[key] for key in DAYS[1:5]}
    _, enough = publish_features(spark, lake, [DAYS[4]], reached, case)
    _, short = publish_features(spark, lake, [DAYS[4]], {DAYS[4]: validated[DAYS[4]]}, case)
    assert whole[DAYS[4]].data_version == enough[DAYS[4]].data_version
    assert whole[DAYS[4]].data_version != short[DAYS[4]].data_version


def test_a_day_without_rows_one_without_history_and_one_of_one_class(
    spark: Any, lake: Lake
) -> None:
    case, table = timed.use_case(), timed.rows(600)
    legal = table.set_column(
        table.column_names.index("fraud"), "fraud", pa.array(np.zeros(600, np.int32))
    )
    first_day = pc.less(legal["at"], pa.scalar(dt.datetime(2026, 3, 27, tzinfo=dt.UTC)))
    validated = publish_validated(lake, legal.filter(first_day), case)
    results, versions = publish_features(spark, lake, DAYS[:3], validated, case)
    assert results[DAYS[0]].label_rates == {"all": 0.0}
    empty = results[DAYS[1]]
    assert (empty.files, empty.rows, empty.split_rows, empty.label_rates) == ([], 0, {"all": 0}, {})
    assert read(versions[DAYS[0]])["shop_label_rate_1d"].to_pandas().max() == 0


def test_features_of_single_rows_only_or_of_windows_only(spark: Any, lake: Lake) -> None:
    for changes in ({"rolling": []}, {"columns": []}):
        case = timed.use_case(features=changes)
        validated = publish_validated(lake, timed.rows(500), case)
        results, versions = publish_features(spark, lake, DAYS, validated, case)
        names = [name for name, _ in results[DAYS[0]].schema]
        assert read(versions[DAYS[0]]).column_names == names


def test_infinite_features_become_missing_and_are_counted(spark: Any, lake: Lake) -> None:
    huge = {"function": "sum", "of": "amount * 1e300 * 1e300", "name": "huge"}
    rolling = [{"name": "card", "entity": ["card"], "windows": ["1d"], "aggregations": [huge]}]
    case = timed.use_case(features={"rolling": rolling})
    validated = publish_validated(lake, timed.rows(500), case)
    results, versions = publish_features(spark, lake, DAYS[:1], validated, case)
    found = read(versions[DAYS[0]])["card_huge_1d"].to_numpy()
    assert np.isnan(found).all()
    usable = pc.is_valid(read(versions[DAYS[0]])["card"]).to_numpy()
    assert 0 < results[DAYS[0]].infinite["card_huge_1d"] <= usable.sum()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.set_column(0, "_row_id", pa.array([7] * len(t))), "same row id"),
        (
            lambda t: t.set_column(
                1, "fraud", pa.array([None] * 3 + [0] * (len(t) - 3), pa.int32())
            ),
            "2026-03-27.*label 'fraud' is missing in 3 of",
        ),
        (
            lambda t: t.set_column(2, "at", pc.add(t["at"], pa.scalar(dt.timedelta(days=1)))),
            "71 validated rows gave 0 feature rows: rows lie outside",
        ),
    ],
)
def test_validated_rows_that_cannot_be(spark: Any, lake: Lake, change: Any, message: str) -> None:
    case, table = timed.use_case(), timed.rows(500)
    key = DAYS[1]
    start = dt.datetime(2026, 3, 27, tzinfo=dt.UTC)
    inside = pc.and_(
        pc.greater_equal(table["at"], pa.scalar(start)),
        pc.less(table["at"], pa.scalar(start + dt.timedelta(days=1))),
    )
    day = table.filter(inside)
    day = change(day.select(["_row_id", "fraud", "at", "id", "card", "shop", "amount"]))
    with lake.dataset("timed", "validated").stage(key) as staged:
        from pipeline_assets.lake.parquet import write_parquet

        write_parquet(day.select(table.column_names), staged.path("rows/part-00000.parquet"))
        staged.seal(rows=len(day), schema=[])
        version = staged.publish()
    with pytest.raises(FeatureError, match=message):
        publish_features(spark, lake, [key], {key: version}, case)


@pytest.mark.parametrize(
    ("aggregation", "message"),
    [
        ({"of": "no_such(amount)"}, "sum of rolling 'card'.*refuses.*no_such"),
        ({"of": "card"}, "sum of rolling 'card'.*is of type string"),
        ({"of": "amount / (shop - shop)"}, "sum of rolling 'card'.*fails on a row"),
    ],
)
def test_expressions_that_cannot_be_computed(
    spark: Any, lake: Lake, aggregation: dict[str, str], message: str
) -> None:
    rolling = [
        {
            "name": "card",
            "entity": ["card"],
            "windows": ["1d"],
            "aggregations": [{"function": "sum", **aggregation}],
        }
    ]
    case = timed.use_case(features={"rolling": rolling})
    validated = publish_validated(lake, timed.rows(200), case)
    with pytest.raises(FeatureError, match=message):
        publish_features(spark, lake, DAYS[:2], validated, case)
