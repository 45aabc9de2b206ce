"""The joined table: its rows, its counts, and bytes that depend on the rows alone, on both engines."""

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from joined import (
    CATALOGUE,
    DAYS,
    PROFILES,
    catalogue,
    events,
    join,
    profiles,
    publish,
    publish_events,
    read,
    use_case,
)

from pipeline_assets.joining import join as joining
from pipeline_assets.joining.results import JoinError
from pipeline_assets.lake import Lake, Version
from pipeline_assets.spec import UseCase


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


@pytest.fixture
def sources(lake: Lake) -> dict[str, Version]:
    return {
        "profiles": publish(lake, "profiles_validated", profiles()),
        "catalogue": publish(lake, "catalogue_validated", catalogue()),
    }


def oracle(table: pa.Table, timed: bool = True) -> pd.DataFrame:
    """What pandas joins, by row id."""
    found = table.to_pandas().astype({"user": "Int64"})
    shelf = (
        catalogue().drop_columns(["_row_id"]).rename_columns(["item", "shop", "catalogue_price"])
    )
    # pandas takes two missing keys as equal; here the catalogue has none.
    found = found.merge(shelf.to_pandas(), on=["item", "shop"], how="left")
    if timed:
        names = ["user", "profiles_since", "profiles_plan", "profiles_spend"]
        versions = profiles().drop_columns(["_row_id"]).rename_columns(names).to_pandas()
        known = found.dropna(subset="user").astype({"user": int}).sort_values("at")
        known = pd.merge_asof(
            known,
            versions.sort_values("profiles_since"),
            left_on="at",
            right_on="profiles_since",
            by="user",
        )
        found = pd.concat([known, found[found["user"].isna()]])
    return found.sort_values("_row_id").reset_index(drop=True)


def assert_like(found: pa.Table, expected: pd.DataFrame) -> None:
    for name in found.column_names:
        wanted = [None if pd.isna(value) else value for value in expected[name].tolist()]
        assert found[name].to_pylist() == wanted, name


def data_versions(published: dict[str, tuple[Version, Version]]) -> dict[str, list[str]]:
    return {key: [v.data_version for v in pair] for key, pair in published.items()}


def with_rule(**rules: str) -> UseCase:
    known = {"profiles": PROFILES, "catalogue": CATALOGUE}
    return use_case(
        sources={name: {**known[name], "unmatched": rule} for name, rule in rules.items()}
    )


def test_columns_values_and_counts(spark: Any, lake: Lake, sources: dict[str, Version]) -> None:
    case, table = use_case(), events()
    results, published = join(spark, lake, publish_events(lake, table, case), sources, case)
    whole = pa.concat_tables([read(published[key][0]) for key in DAYS]).sort_by("_row_id")
    expected = oracle(table)
    assert whole.column_names == [
        *table.column_names,
        *("profiles_since", "profiles_plan", "profiles_spend", "catalogue_price"),
    ]
    assert_like(whole, expected)
    lacking = expected["profiles_spend"].isna()
    assert 50 < lacking.sum() < 600
    assert sum(r.unmatched["profiles"] for r in results.values()) == lacking.sum()
    for key in DAYS:
        result, found = results[key], read(published[key][0])
        assert result.joined_schema[-1] == ("catalogue_price", "float")
        assert [name for name, _ in result.joined_schema] == found.column_names
        assert (result.rows_events, result.rows_unmatched) == (len(found), 0)
        assert result.conserved
        ids = found.filter(pc.is_null(found["profiles_spend"]))
        assert [s["user"] for s in result.samples["profiles"]] == ids["user"].to_pylist()[:5]
        assert list(result.samples["catalogue"][0]) == ["item", "shop", "at"]


def test_any_way_of_computing_it_gives_the_same_bytes(
    spark: Any, lake: Lake, sources: dict[str, Version], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a range or alone, by small tasks, with sources that travel, from other files in another order."""
    case, table = with_rule(profiles="reject", catalogue="keep"), events()
    validated = publish_events(lake, table, case)
    _, together = join(spark, lake, validated, sources, case)
    assert all(unmatched.rows for _, unmatched in together.values())
    for key in DAYS:
        _, alone = join(spark, lake, {key: validated[key]}, sources, case)
        assert data_versions(alone)[key] == data_versions(together)[key]
    elsewhere = Lake(lake.uri + "_shuffled")
    order = np.random.default_rng(3).permutation(len(table))
    again = publish_events(elsewhere, table.take(order), case, files=3)
    monkeypatch.setattr(joining, "EVERYWHERE_BYTES", 0)
    monkeypatch.setattr(joining, "ROWS_PER_TASK", 100)
    monkeypatch.setattr(joining, "ROWS_PER_PASS", 500)
    backwards = {key: again[key] for key in DAYS[::-1]}
    _, cut_up = join(spark, elsewhere, backwards, sources, case)
    assert data_versions(cut_up) == data_versions(together)
    assert list(cut_up) == DAYS[::-1]


def test_a_large_table_has_several_files(
    spark: Any, lake: Lake, sources: dict[str, Version], monkeypatch: pytest.MonkeyPatch
) -> None:
    case, table = use_case(), events()
    validated = publish_events(lake, table, case)
    _, whole = join(spark, lake, validated, sources, case)
    monkeypatch.setattr(joining, "ROWS_PER_BUCKET", 70)
    _, parts = join(spark, lake, validated, sources, case)
    for key in DAYS:
        files = parts[key][0].files("rows", ".parquet")
        assert len(files) == -(-validated[key].rows // 70)
        assert read(parts[key][0]) == read(whole[key][0])


@pytest.mark.spark
@pytest.mark.parametrize("limit", [0, 2**24], ids=["large sources", "small sources"])
def test_both_engines_give_the_same_bytes(
    spark: Any,
    apache_spark: Any,
    lake: Lake,
    sources: dict[str, Version],
    limit: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(joining, "EVERYWHERE_BYTES", limit)
    case = with_rule(profiles="keep", catalogue="reject")
    validated = publish_events(lake, events(), case)
    found = [join(s, lake, validated, sources, case)[1] for s in (spark, apache_spark)]
    assert data_versions(found[0]) == data_versions(found[1])


def test_rejected_rows_are_kept_with_the_sources_that_lack_them(
    spark: Any, lake: Lake, sources: dict[str, Version]
) -> None:
    case, table = with_rule(profiles="reject", catalogue="reject"), events()
    results, published = join(spark, lake, publish_events(lake, table, case), sources, case)
    expected = oracle(table)
    shelf = set(zip(catalogue()["number"].to_pylist(), catalogue()["shop"].to_pylist()))
    no_profile = expected["profiles_spend"].isna()
    no_item = pd.Series([pair not in shelf for pair in zip(expected["item"], expected["shop"])])
    whole = pa.concat_tables([read(published[key][0]) for key in DAYS]).sort_by("_row_id")
    assert_like(whole, expected[~no_profile & ~no_item].reset_index(drop=True))
    out = pa.concat_tables([read(published[key][1]) for key in DAYS]).sort_by("_row_id")
    assert out.column_names == [*table.column_names, "_unmatched"]
    lacking = [
        [name for name, lacks in (("profiles", profile), ("catalogue", item)) if lacks]
        for profile, item in zip(no_profile, no_item)
        if profile or item
    ]
    assert out["_unmatched"].to_pylist() == lacking
    assert ["profiles", "catalogue"] in lacking
    assert all(result.conserved for result in results.values())
    assert sum(r.unmatched["catalogue"] for r in results.values()) == no_item.sum()


def test_fail_names_the_partition_the_count_and_keys(
    spark: Any, lake: Lake, sources: dict[str, Version]
) -> None:
    case = with_rule(catalogue="fail")
    good = events().filter(pc.is_in(events()["shop"], pa.array([f"s{n}" for n in range(4)])))
    good = good.filter(pc.less(good["item"], 8))
    validated = publish_events(lake, good, case)
    results, _ = join(spark, lake, validated, sources, case)
    assert all(result.unmatched == {"catalogue": 0} for result in results.values())
    bad = publish_events(lake, events(), case, DAYS[1:2])
    with pytest.raises(JoinError) as error:
        join(spark, lake, {**validated, **bad}, sources, case)
    message = str(error.value)
    assert message.startswith(f"partition {DAYS[1]}: ")
    assert f"of {bad[DAYS[1]].rows} events have no row in catalogue" in message
    assert '"item": ' in message and DAYS[0] not in message.partition("whose")[0]


def test_without_time_by_key_alone(spark: Any, lake: Lake, sources: dict[str, Version]) -> None:
    case, table = use_case(timed=False), events()
    validated = publish_events(lake, table, case)
    results, published = join(spark, lake, validated, sources, case)
    found = read(published["all"][0])
    assert_like(found, oracle(table, timed=False))
    assert found.column_names == [*table.column_names, "catalogue_price"]
    assert results["all"].rows_joined == len(table)


@pytest.mark.parametrize("limit", [0, 2**24], ids=["large sources", "small sources"])
def test_partitions_and_sources_without_rows(
    spark: Any, lake: Lake, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joining, "EVERYWHERE_BYTES", limit)
    case, table = with_rule(profiles="reject", catalogue="keep"), events()
    second = pc.equal(pc.strftime(table["at"], "%Y-%m-%d"), DAYS[1])
    validated = publish_events(lake, table.filter(second), case)
    nothing = {
        "profiles": publish(lake, "profiles_validated", profiles().slice(0, 0)),
        "catalogue": publish(lake, "catalogue_validated", catalogue()),
    }
    results, published = join(spark, lake, validated, nothing, case)
    assert [results[key].rows_joined for key in DAYS] == [0, 0, 0]
    assert [results[key].rows_unmatched for key in DAYS] == [0, validated[DAYS[1]].rows, 0]
    assert published[DAYS[0]][0].manifest.files == []


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin"])
def test_dates_are_valid_from_midnight_where_the_use_case_is(
    spark: Any, lake: Lake, zone: str
) -> None:
    contract = {
        "key": ["user_id", "since"],
        "columns": [
            {"name": "user_id", "type": "int64"},
            {"name": "since", "type": "date"},
            {"name": "plan", "type": "string"},
        ],
    }
    case = use_case(
        time={"timezone": zone}, sources={"profiles": {**PROFILES, "contract": contract}}
    )
    table = events(zone=zone)
    plans = pa.table(
        {
            "user_id": pa.array(np.arange(40)),
            "since": pa.array([dt.date.fromisoformat(DAYS[1])] * 40),
            "plan": pa.array(["new"] * 40),
            "_row_id": pa.array(np.arange(40)),
        }
    )
    versions = {"profiles": publish(lake, "profiles_validated", plans)}
    results, _ = join(spark, lake, publish_events(lake, table, case), versions, case)
    known = {
        key: result.rows_joined - result.unmatched["profiles"] for key, result in results.items()
    }
    assert known[DAYS[0]] == 0
    assert all(known[key] > 200 for key in DAYS[1:])


def test_rows_of_another_partition_and_missing_sources_are_refused(
    spark: Any, lake: Lake, sources: dict[str, Version]
) -> None:
    case = use_case()
    validated = publish_events(lake, events(), case)
    with pytest.raises(JoinError, match="no validated version of the sources catalogue"):
        join(spark, lake, validated, {"profiles": sources["profiles"]}, case)
    with pytest.raises(JoinError, match=f"partition {DAYS[0]}: .* outside of the partition"):
        join(spark, lake, {DAYS[0]: validated[DAYS[1]]}, sources, case)
