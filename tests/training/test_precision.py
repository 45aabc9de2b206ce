"""Number formats and compilation of a step, on one rank; over ranks see `test_parallelism`."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch import nn

from pipeline_assets.training.config import TrainingError, TrainingJob
from pipeline_assets.training.precision import MixedPrecision, full_float32, set_precision
from pipeline_assets.training.worker import train

CPU = torch.device("cpu")
pytestmark = pytest.mark.usefixtures("one_thread")


def distance(a: TrainingJob, b: TrainingJob) -> float:
    first, second = (load_file(Path(job.output) / "model.safetensors") for job in (a, b))
    return max(float(np.abs(first[k] - second[k]).max()) for k in first if first[k].size)


def test_float16_is_refused_and_tf32_is_without_effect_on_cpus(  # type: ignore[no-untyped-def]
    make_job, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(TrainingError, match="float16 needs a GPU"):
        train(make_job(precision="float16"))
    plain, tf32 = make_job(max_epochs=1), make_job(max_epochs=1, precision="tf32")
    train(plain)
    capsys.readouterr()
    train(tf32)
    assert "tf32 is a mode of GPUs: computing in float32" in capsys.readouterr().out
    assert distance(plain, tf32) == 0


def test_tf32_is_switched_on_for_gpus_alone() -> None:
    gpu = torch.device("cuda")
    try:
        assert set_precision("tf32", gpu) is None
        assert torch.backends.cuda.matmul.allow_tf32
        assert torch.get_float32_matmul_precision() == "high"
        with full_float32():  # validation
            assert not torch.backends.cuda.matmul.allow_tf32
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        set_precision("float32", gpu)
    assert not torch.backends.cuda.matmul.allow_tf32


def test_bfloat16_learns_in_float32_weights(make_job) -> None:  # type: ignore[no-untyped-def]
    plain, half = make_job(), make_job(precision="bfloat16")
    train(plain)
    train(half)
    assert distance(plain, half) > 1e-5
    losses = [
        json.loads((Path(job.output) / "history.json").read_text())["epochs"][-1]["train_loss"]
        for job in (plain, half)
    ]
    assert losses[1] == pytest.approx(losses[0], rel=2e-3)
    kept = load_file(Path(half.output) / "model.safetensors")
    assert {tensor.dtype.name for tensor in kept.values()} == {"float32", "int64"}


@pytest.mark.parametrize("parts", [2, 3, 64])
def test_micro_batches_change_nothing_but_rounding(make_job, parts: int) -> None:  # type: ignore[no-untyped-def]
    # Batches of 64 rows in 3 parts are unequal; in 64 parts the last, smaller one has some that are empty.
    plain, in_parts = make_job(max_epochs=2), make_job(max_epochs=2, gradient_accumulation=parts)
    train(plain)
    train(in_parts)
    assert 0 < distance(plain, in_parts) < 2e-6


def test_an_overflow_halves_the_scale_and_leaves_out_the_update() -> None:
    network = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    precision = MixedPrecision("float16", CPU)
    before = [parameter.detach().clone() for parameter in network.parameters()]

    def step(row: list[float]) -> None:
        optimizer.zero_grad()
        precision.backward(network(torch.tensor([row])).sum())
        precision.unscale(optimizer)
        precision.step(optimizer)

    def scale() -> float:
        found = precision.scale()
        assert found is not None
        return found.item()

    step([1.0, float("inf")])
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters()))
    assert precision.state()["scale"] == 32768 == scale()
    step([1.0, 2.0])
    torch.testing.assert_close(before[0] - network.weight, torch.tensor([[0.1, 0.2]]))
    resumed = MixedPrecision("float16", CPU)
    resumed.restore(precision.state())
    assert resumed.state() == precision.state()
    for _ in range(15):
        step([1.0, float("inf")])
    assert scale() == 1, "from here on the gradients themselves are not finite"


@pytest.mark.heavy
@pytest.mark.filterwarnings("ignore:.*script_method. is deprecated:DeprecationWarning")
def test_compiled_is_the_same_model(  # type: ignore[no-untyped-def]
    make_job, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 403 rows in batches of 100: the last, of 3 rows, runs uncompiled.
    settings = {"batch_size": 100, "max_epochs": 2, "options": {"hidden": [16]}}
    plain, compiled = make_job(**settings), make_job(**settings, compile=True)
    train(plain)
    torch._dynamo.utils.counters.clear()
    train(compiled)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
    assert distance(plain, compiled) < 2e-6
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(TrainingError, match="no-such-compiler is not on the PATH"):
        train(make_job(compile=True))
