"""Statistics inside the model: imputing, scaling, vocabulary, and rows never seen in training."""

import numpy as np
import pytest
import torch

from pipeline_assets.training.config import (
    CategoricalFeature,
    NumericFeature,
    PreprocessorConfig,
)
from pipeline_assets.training.preprocessor import FIRST_KNOWN, MISSING, UNKNOWN, Preprocessor

NAN, INF = float("nan"), float("inf")


def test_numbers_are_imputed_and_scaled() -> None:
    config = PreprocessorConfig(
        numeric=(
            NumericFeature(name="a", mean=10.0, std=2.0, median=9.0),
            NumericFeature(name="constant", mean=5.0, std=0.0, median=5.0),
            NumericFeature(name="empty", mean=None, std=NAN, median=None),
        )
    )
    numeric = torch.tensor([[12.0, 5.0, NAN], [NAN, 99.0, 3.0], [INF, NAN, -INF]])
    scaled, missing, categories = Preprocessor(config)(numeric, torch.zeros(3, 0).long())
    assert scaled.tolist() == [[1.0, 0.0, 0.0], [-0.5, 0.0, 0.0], [-0.5, 0.0, 0.0]]
    assert missing.tolist() == [[0, 0, 1], [1, 0, 0], [1, 1, 1]]
    assert categories.shape == (3, 0)


def test_categories_are_missing_unknown_or_known() -> None:
    config = PreprocessorConfig(
        categorical=(
            CategoricalFeature(name="a", vocabulary=(30, -5, 2**62)),
            CategoricalFeature(name="never", vocabulary=()),
        )
    )
    preprocessor = Preprocessor(config)
    hashes = torch.tensor([[0, 0], [30, 1], [-5, 2], [2**62, 3], [31, 4], [-(2**63), 5]])
    indices = preprocessor(torch.zeros(6, 0), hashes).categories.tolist()
    first = [row[0] for row in indices]
    assert first == [MISSING, FIRST_KNOWN + 1, FIRST_KNOWN, FIRST_KNOWN + 2, UNKNOWN, UNKNOWN]
    assert [row[1] for row in indices] == [MISSING] + [UNKNOWN] * 5
    assert preprocessor.cardinalities == [5, 2]


def test_config_from_statistics() -> None:
    statistics = {
        "numeric": [
            {
                "name": "age", "mean": 40.0, "std": 10.0, "min": 18.0, "max": 90.0,
                "quantiles": {"0.5": 38.0, "0.01": 18.0, "0.99": 80.0},
            },
            {
                "name": "empty", "mean": None, "std": None, "min": None, "max": None,
                "quantiles": {},
            },
        ],
        "categorical": [{"name": "city", "top": [["b", 2, 9], {"hash": 1}, ["c", 3, 1]]}],
    }  # fmt: skip
    config = PreprocessorConfig.from_statistics(statistics, max_vocabulary=2)
    assert config.numeric[0].edges == (18.0, 38.0, 80.0, 90.0)
    assert config.numeric[0].median == 38.0
    assert config.numeric[1].median is None
    assert config.categorical[0].vocabulary == (2, 1)


@pytest.mark.parametrize("std", [1e-300, 5e-324, 1e-39, 2.9e-39])
def test_a_variation_too_small_for_a_finite_scale_counts_as_constant(std: float) -> None:
    feature = NumericFeature(name="a", mean=0.0, std=std, median=0.0)
    preprocessor = Preprocessor(PreprocessorConfig(numeric=(feature,)))
    out = preprocessor(torch.tensor([[0.0], [1e-38], [7.0]]), torch.zeros(3, 0).long()).numeric
    assert np.all(out.numpy() == 0)


def test_the_smallest_variation_that_can_be_scaled_is() -> None:
    feature = NumericFeature(name="a", mean=0.0, std=4e-39, median=0.0)
    preprocessor = Preprocessor(PreprocessorConfig(numeric=(feature,)))
    assert torch.isfinite(preprocessor.scale).all() and (preprocessor.scale > 0).all()


@pytest.mark.parametrize("mean", [0.0, 1e9])
def test_a_feature_that_only_varies_by_rounding_counts_as_constant(mean: float) -> None:
    std = abs(mean) * 1e-8
    feature = NumericFeature(name="a", mean=mean, std=std, median=mean)
    preprocessor = Preprocessor(PreprocessorConfig(numeric=(feature,)))
    out = preprocessor(torch.tensor([[mean + 50.0]]), torch.zeros(1, 0).long()).numeric
    assert np.all(out.numpy() == 0)
