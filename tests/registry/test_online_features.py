from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline_assets.features.frame import feature_frame
from pipeline_assets.registry.inputs import (
    InputError,
    arrow_type,
    example,
    serving_contract,
    to_arrow,
)
from pipeline_assets.registry.online_features import OnlineFeatures
from pipeline_assets.shards.hashing import hash_categories
from pipeline_assets.spec import Column
from pipeline_assets.spec.loader import load_use_case

CHURN = Path(__file__).parents[2] / "pipeline_assets" / "defs" / "churn" / "defs.yaml"


@pytest.fixture(scope="module")
def churn():
    return load_use_case(CHURN)


@pytest.fixture(scope="module")
def customers(churn):
    """Rows within the contract, with missing values where it allows them."""
    import pandas as pd

    random = np.random.default_rng(0)
    columns = {}
    for column in serving_contract(churn).columns:
        if column.allowed:
            values = [column.allowed[i] for i in random.integers(0, len(column.allowed), 400)]
        else:
            values = random.integers(int(column.min or 0), int(column.max or 100) + 1, 400).tolist()
        if column.nullable:
            values = [None if random.random() < 0.1 else value for value in values]
        columns[column.name] = pd.Series(values, dtype=object)
    return pd.DataFrame(columns)


def test_served_features_are_those_of_the_batch(spark, churn, customers):
    contract = serving_contract(churn)
    table = to_arrow(customers, contract)
    numeric, categorical = OnlineFeatures(churn).compute(table)
    numbered = table.append_column("_row_id", pa.array(np.arange(len(customers))))
    frame = feature_frame(spark.createDataFrame(numbered), churn, labelled=False)
    batch = frame.toArrow().sort_by("_row_id")
    for position, feature in enumerate(churn.features.numeric):
        expected = batch.column(feature.name).to_numpy().astype(np.float32)
        np.testing.assert_array_equal(numeric[:, position], expected, err_msg=feature.name)
    for position, feature in enumerate(churn.features.categorical):
        expected = hash_categories(batch.column(feature.name).to_pylist())
        np.testing.assert_array_equal(categorical[:, position], expected, err_msg=feature.name)


def test_no_rows_give_no_features(churn):
    contract = serving_contract(churn)
    empty = pa.table({c.name: pa.array([], arrow_type(c)) for c in contract.columns})
    numeric, categorical = OnlineFeatures(churn).compute(empty)
    assert numeric.shape == (0, len(churn.features.numeric))
    assert categorical.shape == (0, len(churn.features.categorical))


def test_the_label_and_unused_columns_are_not_asked_for(churn):
    names = serving_contract(churn).names
    assert "Exited" not in names and "Surname" not in names


def test_the_made_up_example_satisfies_the_contract(churn):
    contract = serving_contract(churn)
    assert to_arrow(example(contract.columns), contract).num_rows == 1


def test_made_up_numbers_lie_within_their_bounds(churn):
    columns = [
        Column(name="share", type="float64", min=0.2, max=0.9),
        Column(name="count", type="int32", min=2.5, max=3.4, nullable=True),
        Column(name="big", type="int64", min=2**53 + 1),
    ]
    contract = churn.contract.model_copy(update={"columns": columns, "rows": []})
    assert to_arrow(example(columns), contract)["big"].to_pylist() == [2**53 + 1]


def test_absent_columns_are_named_unless_they_may_be_missing(churn, customers):
    contract = serving_contract(churn)
    found = to_arrow(customers.drop(columns=["Balance"]), contract)
    assert found.column("Balance").null_count == len(customers)
    with pytest.raises(InputError, match="columns are missing: Age; the model takes CreditScore"):
        to_arrow(customers.drop(columns=["Age"]), contract)


def test_wrong_types_are_named_with_value_and_row(churn, customers):
    contract = serving_contract(churn)
    wrong = customers.assign(Age=["old", *customers["Age"][1:]])
    with pytest.raises(InputError, match=r"Age.type \(must be of type int32\): 'old' in row 0"):
        to_arrow(wrong, contract)


def test_text_is_taken_as_the_batch_takes_it(churn, customers):
    contract = serving_contract(churn)
    as_text = customers.map(lambda value: None if value is None else str(value))
    assert to_arrow(as_text, contract).equals(to_arrow(customers, contract))
