"""Models: shapes, categories and gaps never seen in training, dropout that does not know of ranks."""

import dataclasses

import numpy as np
import pytest
import torch

from pipeline_assets.training.config import ModelConfig, TrainingError
from pipeline_assets.training.model import build_network
from pipeline_assets.training.models.layers import RowDropout, set_row_keys

MLP = "pipeline_assets.training.models.mlp:build"
RESNET = "pipeline_assets.training.models.resnet:build"
TABM = "pipeline_assets.training.models.tabm:build"
VARIANTS = [
    (MLP, {}),
    (MLP, {"hidden": []}),
    (MLP, {"numeric_embedding": "piecewise_linear"}),
    (RESNET, {}),
    (RESNET, {"numeric_embedding": "periodic", "blocks": 1, "residual_dropout": 0.2}),
    (TABM, {"members": 3}),
    (TABM, {"members": 1, "numeric_embedding": "periodic"}),
    (TABM, {"members": 3, "numeric_embedding": "none"}),
]


@pytest.fixture
def config(make_job) -> ModelConfig:  # type: ignore[no-untyped-def]
    return make_job().model


@pytest.mark.parametrize(("factory", "options"), VARIANTS)
def test_shapes_and_finite_logits_for_any_input(config, factory, options) -> None:  # type: ignore[no-untyped-def]
    config = dataclasses.replace(config, factory=factory, options=options)
    network = build_network(config)
    numeric = torch.tensor([[0.0, 1, 7, 0], [float("nan")] * 4, [float("inf"), -1e30, 8, 3e38]])
    categorical = torch.tensor(
        [[0], [123], [int(config.preprocessor.categorical[0].vocabulary[0])]]
    )
    members = options.get("members")
    logits = network(numeric, categorical)
    assert logits.shape == ((3,) if members is None else (3, members))
    assert torch.isfinite(logits).all()
    assert network(numeric[:0], categorical[:0]).shape[0] == 0
    config = dataclasses.replace(config, task="multiclass", classes=5)
    scores = build_network(config)(numeric, categorical)
    assert scores.shape == (*logits.shape, 5)
    assert torch.isfinite(scores).all()


@pytest.mark.parametrize(("factory", "options"), VARIANTS)
def test_unseen_category_and_unseen_gap_move_nothing_before_training(  # type: ignore[no-untyped-def]
    config, factory, options
) -> None:
    network = build_network(dataclasses.replace(config, factory=factory, options=options)).eval()
    value = torch.tensor([[0.0, 0.0, 7.0, 0.0]])
    gap = torch.tensor([[float("nan"), 0.0, 7.0, 0.0]])
    with torch.no_grad():
        assert torch.equal(network(value, torch.tensor([[0]])), network(value, torch.tensor([[5]])))
        if options.get("hidden") != []:
            assert torch.equal(
                network(value, torch.tensor([[0]])), network(gap, torch.tensor([[0]]))
            )


def test_members_of_the_ensemble_differ(config) -> None:  # type: ignore[no-untyped-def]
    config = dataclasses.replace(config, factory=TABM, options={"members": 8})
    logits = build_network(config)(torch.randn(1, 4), torch.tensor([[1]]))
    assert len(set(logits[0].tolist())) == 8


@pytest.mark.parametrize(
    ("factory", "options", "message"),
    [
        (MLP, {"hiden": [1]}, "'hiden' is unknown.*did you mean 'hidden'"),
        (TABM, {"numeric_embedding": "fourier"}, "expected 'piecewise_linear' or"),
        (TABM, {"members": 0}, "members of .* is 0; expected integer at least 1"),
        (
            TABM,
            {"hidden": []},
            r"is \[\]; expected a list of integer at least 1, at least 1 in number",
        ),
        (MLP, {"bins": 1}, "expected integer at least 2"),
        (MLP, {"frequency_scale": float("inf")}, "is inf; expected number above 0"),
        ("os:getcwd", {}, "failed with model.options"),
        ("builtins:repr", {}, "returned a str, not an nn.Module"),
        (RESNET, {"blocks": 0}, "blocks of .* is 0; expected integer at least 1"),
        (RESNET, {"width": 3, "hidden_factor": 0.1}, "without hidden units"),
        (RESNET, {"width": 128.0}, r"width of .*resnet:build is 128.0; expected integer"),
        (MLP, {"hidden": [64, True]}, r"is \[64, True\]; expected a list of integer"),
        (MLP, {"hidden": [64, 0]}, r"is \[64, 0\]; expected a list of integer at least 1"),
        (MLP, {"dropout": "0.1"}, "is '0.1'; expected number"),
        (MLP, {"dropout": 1}, "is 1; expected number at least 0 and below 1"),
        ("nowhere", {}, "not of the form module:function"),
        ("pipeline_assets.training.models.mlp:biuld", {}, "cannot be loaded"),
    ],
)
def test_mistakes_in_the_model_settings(config, factory, options, message) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(TrainingError, match=message):
        build_network(dataclasses.replace(config, factory=factory, options=options))


@pytest.mark.parametrize("factory", [MLP, RESNET, TABM])
@pytest.mark.parametrize("embedding", ["piecewise_linear", "periodic"])
def test_numeric_embeddings_reach_the_output(config, factory: str, embedding: str) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    options = {"numeric_embedding": embedding, "numeric_embedding_dim": 4}
    network = build_network(dataclasses.replace(config, factory=factory, options=options))
    network(torch.randn(9, 4), torch.zeros(9, 1, dtype=torch.int64)).sum().backward()
    for name, parameter in network.named_parameters():
        if name.startswith(("piecewise", "periodic")):
            assert parameter.grad is not None and parameter.grad[:2].abs().sum() > 0, name


def test_dropout_is_a_function_of_row_and_step() -> None:
    layer = RowDropout(0.3, 500, layer=0)
    rows = torch.randint(-(2**62), 2**62, (400,), generator=torch.Generator().manual_seed(0))
    ones = torch.ones(400, 500)

    def mask(row_id: torch.Tensor, step: int, seed: int = 0) -> np.ndarray:
        set_row_keys(layer, row_id, step, seed)
        return layer(ones[: len(row_id)]).numpy() > 0

    whole = mask(rows, 5)
    assert np.array_equal(whole, np.concatenate([mask(rows[:123], 5), mask(rows[123:], 5)]))
    # Share of kept units, and independence of rows, units, steps and seeds: within 5 standard errors.
    assert abs(whole.mean() - 0.7) < 5 * np.sqrt(0.21 / whole.size)
    for other in (mask(rows, 6), mask(rows, 5, seed=1), np.roll(whole, 1, 0), np.roll(whole, 1, 1)):
        correlation = np.corrcoef(whole.ravel(), other.ravel())[0, 1]
        assert abs(correlation) < 5 / np.sqrt(whole.size)
    assert torch.equal(layer.eval()(ones), ones)
