"""A served model of a use case with rolling features takes them as they come."""

import numpy as np
import pandas as pd
import pytest

from pipeline_assets.registry.inputs import InputError, serving_contract, to_arrow
from pipeline_assets.registry.online_features import OnlineFeatures
from pipeline_assets.spec import UseCase
from pipeline_assets.spec.partitions import naive_timezone


@pytest.fixture(scope="module")
def use_case() -> UseCase:
    return UseCase.model_validate(
        {
            "name": "cards",
            "time": {"column": "at", "start": "2018-04-01"},
            "source": {"uri": "landing/{partition}.parquet", "format": "parquet"},
            "contract": {
                "key": ["id"],
                "columns": [
                    {"name": "id", "type": "int64"},
                    {"name": "at", "type": "timestamp"},
                    {"name": "card", "type": "string"},
                    {"name": "amount", "type": "float64", "min": 0},
                    {"name": "fraud", "type": "int32"},
                ],
            },
            "features": {
                "label": {"column": "fraud"},
                "columns": [{"name": "doubled", "kind": "numeric", "expression": "amount * 2"}],
                "rolling": [
                    {
                        "name": "card",
                        "entity": ["card"],
                        "windows": ["1d", "7d"],
                        "aggregations": [{"function": "count"}],
                    }
                ],
            },
        }
    )


def test_served_times_without_an_offset_are_in_the_zone_of_the_use_case(use_case: UseCase) -> None:
    document = use_case.model_dump(mode="json")
    document["time"]["timezone"] = "Europe/Berlin"
    document["features"]["columns"].append(
        {"name": "hour", "kind": "numeric", "expression": "hour(at)"}
    )
    local = UseCase.model_validate(document)
    contract = serving_contract(local)
    rows = pd.DataFrame(
        {
            "amount": 1.0,
            "at": ["2018-04-02 10:00:00", "2018-04-02T10:00:00Z", "2018-01-02 10:00:00"],
        }
    )
    table = to_arrow(rows, contract, timezone=naive_timezone(local))
    assert [at.hour for at in table["at"].to_pylist()] == [8, 10, 9]
    # MLflow's signature makes datetimes without a zone of them.
    rows["at"] = pd.to_datetime(
        ["2018-04-02T10:00:00.5", "2018-01-02T10:00:00.0", "2018-07-02T00:00:00.0"]
    )
    table = to_arrow(rows, contract, timezone=naive_timezone(local))
    assert [(at.hour, at.microsecond) for at in table["at"].to_pylist()] == [
        (8, 500_000),
        (9, 0),
        (22, 0),
    ]
    assert to_arrow(rows, contract)["at"].to_pylist()[0].hour == 10


def test_rolling_features_are_inputs_and_may_be_missing(use_case: UseCase) -> None:
    contract = serving_contract(use_case)
    assert contract.names == ["amount", "card_count_1d", "card_count_7d"]
    rows = pd.DataFrame({"amount": [1.0, 2.5], "card_count_1d": [3.0, None]})
    numeric, categorical = OnlineFeatures(use_case).compute(to_arrow(rows, contract))
    np.testing.assert_array_equal(numeric[0], np.float32([2.0, 3.0, np.nan]))
    np.testing.assert_array_equal(numeric[1], np.float32([5.0, np.nan, np.nan]))
    assert categorical.shape == (2, 0)
    with pytest.raises(InputError, match="columns are missing: amount"):
        to_arrow(rows.drop(columns="amount"), contract)
