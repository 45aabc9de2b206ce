from pathlib import Path

import numpy as np
import pytest

from pipeline_assets.evaluation.baselines import Fitted
from pipeline_assets.evaluation.encoding import CategoricalEncoding, Encoding, NumericEncoding
from pipeline_assets.evaluation.evaluating import evaluate_rows
from pipeline_assets.evaluation.rows import ArrayRows, Block
from pipeline_assets.shards.hashing import hash_categories
from pipeline_assets.spec import UseCase

COUNTRIES = ("France", "Spain")


@pytest.fixture(scope="session")
def use_case():
    return UseCase.model_validate(
        {
            "name": "shop",
            "description": "Who comes back",
            "source": {"uri": "landing", "format": "csv"},
            "contract": {
                "key": ["id"],
                "columns": [
                    {"name": "id", "type": "int64"},
                    {"name": "age", "type": "int32", "min": 18, "max": 100},
                    {"name": "balance", "type": "float64", "nullable": True, "min": 0},
                    {"name": "visits", "type": "int64", "nullable": True},
                    {"name": "country", "type": "string", "allowed": list(COUNTRIES)},
                    {"name": "member", "type": "boolean"},
                    {"name": "since", "type": "date", "nullable": True},
                    {"name": "back", "type": "int32", "allowed": [0, 1]},
                ],
            },
            "features": {
                "label": {"column": "back"},
                "columns": [
                    {"name": "age", "kind": "numeric"},
                    {"name": "log_balance", "kind": "numeric", "expression": "ln(1 + balance)"},
                    {"name": "visits", "kind": "numeric"},
                    {"name": "member", "kind": "numeric", "expression": "CAST(member AS INT)"},
                    {"name": "year", "kind": "numeric", "expression": "year(since)"},
                    {"name": "country", "kind": "categorical"},
                ],
            },
            "evaluation": {"baselines": ["majority"], "bootstrap_samples": 20},
        }
    )


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory) -> Path:
    import torch

    from pipeline_assets.training.config import (
        CategoricalFeature,
        ModelConfig,
        NumericFeature,
        PreprocessorConfig,
    )
    from pipeline_assets.training.model import build_network, save_model

    torch.manual_seed(0)
    numbers = {"age": (40, 10), "log_balance": (8, 2), "visits": (5, 3), "member": (0.5, 0.5)}
    config = ModelConfig(
        options={"hidden": [8]},
        preprocessor=PreprocessorConfig(
            numeric=tuple(
                NumericFeature(name=name, mean=mean, std=std, median=mean)
                for name, (mean, std) in {**numbers, "year": (2015, 5)}.items()
            ),
            categorical=(
                CategoricalFeature(
                    name="country", vocabulary=tuple(hash_categories(COUNTRIES).tolist())
                ),
            ),
        ),
    )
    folder = tmp_path_factory.mktemp("model")
    network = build_network(config)
    save_model(folder, weights=network.state_dict(), config=config, positive_weight=1.0, extra={})
    return folder


@pytest.fixture(scope="session")
def evaluation(use_case):
    random = np.random.default_rng(0)
    size = 300
    block = Block(
        random.normal(size=(size, 5)).astype(np.float32),
        hash_categories([COUNTRIES[i] for i in random.integers(0, 2, size)]).reshape(-1, 1),
        random.integers(0, 2, size).astype(np.float32),
        np.arange(size),
    )
    rows = ArrayRows(block)
    return evaluate_rows(
        model=Fitted(
            name="model",
            title="Model",
            how="by hand",
            predict=lambda numeric, categorical: 1 / (1 + np.exp(-numeric[:, 0])),
        ),
        train=rows,
        validation=rows,
        test=rows,
        encoding=Encoding(
            numeric=tuple(
                NumericEncoding(name=name, mean=0, std=1, median=0)
                for name in ("age", "log_balance", "visits", "member", "year")
            ),
            categorical=(
                CategoricalEncoding(
                    name="country",
                    values=COUNTRIES,
                    hashes=tuple(hash_categories(COUNTRIES).tolist()),
                ),
            ),
        ),
        use_case=use_case,
        seed=0,
        data_versions={"features": "0123456789abcdef", "trained_model": "fedcba9876543210"},
    )
