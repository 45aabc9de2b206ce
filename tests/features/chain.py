"""A small use case with its validated version, for the tests of features; also run as a script.

`python tests/features/chain.py FOLDER` computes features and statistics with the engine named by
`PIPELINE_ENGINE` and prints `{"data_version": …, "statistics": …}`.
"""

from typing import Any

import numpy as np
import pyarrow as pa

from pipeline_assets.features.compute import FeatureResult, compute_features
from pipeline_assets.lake import Lake, Version
from pipeline_assets.lake.parquet import write_parquet
from pipeline_assets.spec import UseCase

FEATURES = [
    {"name": "age", "kind": "numeric"},
    {"name": "log_balance", "kind": "numeric", "expression": "ln(balance + 1)"},
    {"name": "per_product", "kind": "numeric", "expression": "balance / nullif(products, 0)"},
    {"name": "products", "kind": "categorical"},
    {"name": "active", "kind": "categorical"},
    {"name": "city", "kind": "categorical", "expression": "lower(city)"},
    {
        "name": "age_band",
        "kind": "categorical",
        "expression": "CASE WHEN age < 30 THEN 'young' WHEN age < 60 THEN 'middle' ELSE 'old' END",
    },
]


def use_case(**features: Any) -> UseCase:
    return UseCase.model_validate(
        {
            "name": "small",
            "seed": 7,
            "source": {"uri": "unused", "format": "csv"},
            "contract": {
                "key": ["id"],
                "columns": [
                    {"name": "id", "type": "int64"},
                    {"name": "age", "type": "float64", "nullable": True},
                    {"name": "balance", "type": "float64"},
                    {"name": "products", "type": "int32"},
                    {"name": "active", "type": "boolean"},
                    {"name": "city", "type": "string", "nullable": True},
                    {"name": "left", "type": "int32"},
                ],
            },
            "features": {"columns": FEATURES, "label": {"column": "left"}, **features},
        }
    )


def rows(count: int = 4000, seed: int = 0) -> pa.Table:
    random = np.random.default_rng(seed)
    missing = random.random(count) < 0.1
    return pa.table(
        {
            "id": pa.array(np.arange(count)),
            "age": pa.array(random.uniform(18, 90, count), mask=missing),
            "balance": pa.array(np.round(random.lognormal(8, 2, count), 2)),
            "products": pa.array(random.integers(0, 4, count), pa.int32()),
            "active": pa.array(random.random(count) < 0.5),
            "city": pa.array(random.choice(["Paris", "Köln", "Łódź"], count), mask=missing[::-1]),
            "left": pa.array((random.random(count) < 0.2).astype(np.int32)),
            "_row_id": pa.array(random.permutation(count) * 2_305_843_009_213_693 - 2**62),
        }
    )


def publish_validated(lake: Lake, table: pa.Table, files: int = 2) -> Version:
    staged = lake.dataset("small", "validated").stage()
    for number in range(files):
        part = table.slice(number * len(table) // files, len(table) // files)
        path = f"rows/part-{number:05d}.parquet"
        write_parquet(part, staged.path(path), storage_options={}, path=path)
    staged.seal(rows=len(table), schema=[(name, "") for name in table.column_names])
    return staged.publish()


def publish_features(
    spark: Any, lake: Lake, validated: Version, case: UseCase
) -> tuple[FeatureResult, Version]:
    with lake.dataset("small", "features").stage() as staged:
        result = compute_features(spark, validated, case, staged)
        staged.seal(files=result.files, rows=result.rows, schema=result.schema)
        return result, staged.publish()
