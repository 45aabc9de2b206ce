import numpy as np
import pytest

from pipeline_assets.demo_data.truth import TrueProbabilities
from pipeline_assets.evaluation.baselines import Fitted
from pipeline_assets.evaluation.encoding import CategoricalEncoding, Encoding, NumericEncoding
from pipeline_assets.evaluation.evaluating import evaluate_rows
from pipeline_assets.evaluation.rows import ArrayRows, Block
from pipeline_assets.shards.hashing import hash_categories
from pipeline_assets.spec import UseCase

COUNTRIES = ("France", "<Spain>")
CODES = hash_categories(COUNTRIES)


@pytest.fixture(scope="session")
def encoding():
    return Encoding(
        numeric=(
            NumericEncoding(name="age", mean=0.0, std=1.0, median=0.0),
            NumericEncoding(name="noise", mean=0.0, std=1.0, median=0.0),
        ),
        categorical=(
            CategoricalEncoding(name="country", values=COUNTRIES, hashes=tuple(CODES.tolist())),
        ),
    )


def probability(numeric, categorical):
    """The truth of the made-up rows; in `<Spain>` nothing is known but the rate."""
    logit = 1.5 * numeric[:, 0] * (categorical[:, 0] != CODES[1])
    return 1 / (1 + np.exp(-logit))


def rows(seed, size):
    random = np.random.default_rng(seed)
    numeric = random.normal(size=(size, 2)).astype(np.float32)
    numeric[::11, 1] = np.nan
    codes = np.concatenate([CODES, hash_categories(["elsewhere"])])
    categorical = codes[random.integers(0, 3, size)].reshape(-1, 1)
    label = (random.random(size) < probability(numeric, categorical)).astype(np.float32)
    return ArrayRows(Block(numeric, categorical, label, np.arange(size) + seed * 10**6))


def _make_use_case(**evaluation):
    return UseCase.model_validate(
        {
            "name": "shop",
            "description": "Who <comes> back",
            "source": {"uri": "landing", "format": "csv"},
            "contract": {
                "key": ["id"],
                "columns": [{"name": name, "type": "int64"} for name in ("id", "back")],
            },
            "features": {
                "label": {"column": "back"},
                "columns": [
                    {"name": "age", "kind": "numeric"},
                    {"name": "noise", "kind": "numeric"},
                    {"name": "country", "kind": "categorical"},
                ],
            },
            "evaluation": {
                "bootstrap_samples": 60,
                "permutation_repeats": 2,
                "slices": [{"feature": "country"}, {"feature": "age", "bins": [-1, 1]}],
                **evaluation,
            },
        }
    )


@pytest.fixture(scope="session")
def make_use_case():
    return _make_use_case


@pytest.fixture(scope="session")
def model():
    return Fitted(name="model", title="Model", how="by hand", predict=probability)


@pytest.fixture(scope="session")
def splits():
    return {"train": rows(1, 3000), "validation": rows(2, 1000), "test": rows(3, 1500)}


@pytest.fixture(scope="session")
def evaluation(splits, encoding, model):
    block = splits["test"].held
    true = probability(block.numeric, block.categorical)
    return evaluate_rows(
        model=model,
        **splits,
        encoding=encoding,
        use_case=_make_use_case(),
        seed=0,
        truth=TrueProbabilities(block.row_id, true.astype(np.float64)),
        data_versions={"features": "0123456789abcdef"},
    )
