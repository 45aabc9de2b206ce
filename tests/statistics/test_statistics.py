"""Statistics of feature files, against pandas, SciPy and scikit-learn."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.stats
from sklearn.metrics import roc_auc_score

from pipeline_assets.spec import UseCase
from pipeline_assets.statistics import FeatureStatistics
from pipeline_assets.statistics import compute as compute_module
from pipeline_assets.statistics.compute import merge_partials, run_tasks, statistics_tasks
from pipeline_assets.statistics.sketches import text_hash
from pipeline_assets.statistics.summary import summarise

NUMERIC = ["skewed", "tied", "gappy", "shifted", "constant", "empty"]
CATEGORICAL = ["city", "surname"]


def use_case() -> UseCase:
    columns = [{"name": name, "kind": "numeric"} for name in NUMERIC]
    columns += [{"name": name, "kind": "categorical"} for name in CATEGORICAL]
    return UseCase.model_validate(
        {
            "name": "sample",
            "source": {"uri": "x", "format": "csv"},
            "contract": {"key": ["id"], "columns": [{"name": "id", "type": "int64"}]},
            "features": {"columns": columns, "label": {"column": "y"}},
            "model": {"max_vocabulary": 50},
        }
    )


def frame(rows: int = 3000, seed: int = 1) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    label = (random.random(rows) < 0.25).astype(np.float32)
    table = pd.DataFrame(
        {
            "_row_id": random.integers(-(2**63), 2**63 - 1, rows),
            "_split": random.choice(["train", "validation", "test"], rows, p=[0.7, 0.15, 0.15]),
            "label": label,
            "skewed": random.lognormal(0, 1, rows) + label,
            "tied": random.integers(0, 5, rows).astype(float) + label,
            "gappy": random.normal(size=rows),
            "shifted": 1e6 + random.normal(size=rows),
            "constant": np.full(rows, 0.1),
            "empty": np.full(rows, np.nan),
            "city": random.choice(["Paris", "Köln", "Łódź", ""], rows),
            "surname": [f"name {value}" for value in random.integers(0, 2000, rows)],
        }
    )
    table.loc[random.random(rows) < 0.2, "gappy"] = np.nan
    table.loc[random.random(rows) < 0.1, "city"] = None
    return table.astype(dict.fromkeys(NUMERIC, np.float32))


def compute(table: pd.DataFrame, folder: Path, files: int = 3) -> FeatureStatistics:
    bucket = table["_row_id"].to_numpy().view(np.uint64) % np.uint64(files)
    uris = []
    for number in range(files):
        part = pa.Table.from_pandas(table[bucket == number], preserve_index=False)
        for at, field in enumerate(part.schema):
            if field.name in CATEGORICAL:
                part = part.set_column(at, field.name, part[field.name].cast(pa.string()))
        path = folder / f"{files}-{number}.parquet"
        pq.write_table(part, path, row_group_size=400)
        uris.append(str(path))
    tasks = json.loads(json.dumps(statistics_tasks(uris, {}, len(table), use_case())))
    partials = [task["partial"] for task in run_tasks(iter(tasks))]
    return summarise(merge_partials(partials), vocabulary=use_case().model.max_vocabulary)


def nearly(value: float) -> object:
    return pytest.approx(value, rel=1e-9, abs=1e-12)


def test_numbers_equal_pandas_and_scipy(tmp_path: Path) -> None:
    table = frame()
    found = compute(table, tmp_path)
    train = table[table["_split"] == "train"]
    assert found.rows == table["_split"].value_counts().to_dict()
    for split, rows in table.groupby("_split"):
        assert found.label_rate[str(split)] == nearly(rows["label"].mean())
        ids = rows["_row_id"].to_numpy().view(np.uint64)
        assert found.row_id_sums[str(split)] == int(ids.sum())
    assert found.sample_rows == len(train)
    for name in NUMERIC[:4]:
        values = train[name].astype(np.float64)
        present = values.dropna()
        item = found.numeric_of(name)
        assert (item.count, item.missing) == (len(present), len(values) - len(present))
        assert item.mean == nearly(present.mean())
        assert item.std == nearly(present.std())
        assert (item.min, item.max) == (present.min(), present.max())
        assert item.skewness == pytest.approx(scipy.stats.skew(present), abs=1e-8)
        assert item.kurtosis == pytest.approx(scipy.stats.kurtosis(present), abs=1e-8)
        assert item.zeros == (present == 0).sum()
        assert item.distinct == present.nunique()
        for key, quantile in item.quantiles.items():
            assert quantile == nearly(present.quantile(float(key)))
        assert sum(item.histogram.counts) == len(present)
        positives = train.loc[present.index, "label"].sum()
        assert sum(item.histogram.positives) == positives
        at = item.distribution.values
        exact = [(present <= value).mean() for value in at]
        assert item.distribution.cumulative == pytest.approx(exact)
        if item.distinct <= 1000:
            assert at == sorted(present.unique())


def test_constant_and_empty_columns_have_no_undefined_numbers(tmp_path: Path) -> None:
    found = compute(frame(), tmp_path)
    constant, empty = found.numeric_of("constant"), found.numeric_of("empty")
    assert constant.mean == constant.min == constant.max == float(np.float32(0.1))
    assert (constant.std, constant.skewness, constant.distinct) == (0.0, None, 1)
    assert (empty.count, empty.missing) == (0, found.rows["train"])
    assert (empty.mean, empty.std, empty.min, empty.quantiles) == (None, None, None, {})
    assert found.single_feature_auc["empty"] == pytest.approx(0.5)
    json.dumps(found.to_dict(), allow_nan=False)


def test_correlations_equal_pandas(tmp_path: Path) -> None:
    table = frame()
    found = compute(table, tmp_path)
    train = table.loc[table["_split"] == "train", NUMERIC].astype(np.float64)
    for method in ("pearson", "spearman"):
        matrix = np.array(getattr(found, method), dtype=np.float64)
        expected = train.corr(method=method).to_numpy()
        np.testing.assert_allclose(matrix[:4, :4], expected[:4, :4], atol=1e-9)
        assert np.isnan(matrix[4:]).all()


def test_categories_and_their_hashes(tmp_path: Path) -> None:
    table = frame()
    found = compute(table, tmp_path)
    train = table[table["_split"] == "train"]
    city = found.categorical_of("city")
    assert {item.value: item.rows for item in city.top} == train["city"].value_counts().to_dict()
    rates = train.groupby("city")["label"].mean()
    for item, rate in zip(city.top, city.label_rates, strict=True):
        assert rate == nearly(rates[item.value])
        assert item.hash == text_hash(item.value)
    assert city.missing == train["city"].isna().sum()
    surname = found.categorical_of("surname")
    assert surname.distinct == train["surname"].nunique()
    assert len(surname.top) == 50
    assert [item.rows for item in surname.top] == list(train["surname"].value_counts()[:50])
    assert text_hash("a") == -8582455328737087284


@pytest.mark.parametrize("most_tasks", [256, 2])
def test_results_do_not_depend_on_the_number_of_files_or_tasks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most_tasks: int
) -> None:
    monkeypatch.setattr(compute_module, "MAX_TASKS", most_tasks)
    runs = [
        [uri for uri, _ in task["files"]]
        for task in statistics_tasks(list("abcde"), {}, 9, use_case())
    ]
    assert [uri for run in runs for uri in run] == list("abcde")
    assert len(runs) == min(most_tasks, 5)
    one, five = (compute(frame(), tmp_path, files=files).to_dict() for files in (1, 5))
    assert_same(one, five)


def assert_same(one: dict[str, object], other: dict[str, object]) -> None:
    """Equal, numbers up to the rounding of sums in another order."""

    def flat(value: object, path: str = "") -> dict[str, object]:
        if isinstance(value, dict):
            items = value.items()
        elif isinstance(value, list | tuple):
            items = enumerate(value)
        else:
            return {path: value}
        return {k: v for key, item in items for k, v in flat(item, f"{path}/{key}").items()}

    a, b = flat(one), flat(other)
    assert a.keys() == b.keys()
    for key, value in a.items():
        if isinstance(value, float):
            assert b[key] == pytest.approx(value, rel=1e-9, abs=1e-9), key
        else:
            assert b[key] == value, key


def test_json_round_trip(tmp_path: Path) -> None:
    found = compute(frame(), tmp_path)
    assert FeatureStatistics.from_dict(json.loads(json.dumps(found.to_dict()))) == found
    with pytest.raises(ValueError, match="format version 99"):
        FeatureStatistics.from_dict({**found.to_dict(), "format_version": 99})


def test_single_feature_auc(tmp_path: Path) -> None:
    table = frame(6000)
    random = np.random.default_rng(3)
    table["gappy"] = np.where(table["label"] == 1, np.nan, random.normal(size=len(table)))
    far = np.where(table["label"] == 1, random.choice([-9, 9], len(table)), 0)
    table["shifted"] = (random.normal(size=len(table)) + far).astype(np.float32)
    table["gappy"] = table["gappy"].astype(np.float32)
    found = compute(table, tmp_path).single_feature_auc
    train = table[table["_split"] == "train"]
    assert found["tied"] == nearly(roc_auc_score(train["label"], train["tied"]))
    assert found["gappy"] > 0.99, "a leak through missing values"
    assert found["shifted"] > 0.99, "a leak that is not monotone"
    assert found["surname"] < 0.55, "many values are no leak by themselves"
    table["city"] = np.where(table["label"] == 1, "left", "stayed")
    assert compute(table, tmp_path).single_feature_auc["city"] > 0.99


def test_rows_in_two_splits_are_counted(tmp_path: Path) -> None:
    table = frame(500)
    assert compute(table, tmp_path).split_overlaps == 0
    twice = table[table["_split"] == "train"].head(3).assign(_split="test")
    again = table.tail(2)
    found = compute(pd.concat([table, twice, again], ignore_index=True), tmp_path)
    assert (found.split_overlaps, found.repeated_row_ids) == (3, 5)


def test_unknown_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="_split is 'holdout'"):
        compute(frame(50).assign(_split="holdout"), tmp_path)
