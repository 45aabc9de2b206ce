"""What is counted and measured for a GPU, on the CPU; the report itself needs a GPU."""

import dataclasses
import threading
from collections.abc import Callable
from itertools import chain, repeat

import pytest
import torch

from pipeline_assets.training.gpu_report import MeanOfSamples, flops_per_row, matmul_ceiling
from pipeline_assets.training.model import build_network

CPU = torch.device("cpu")


def test_operations_of_a_row(make_job) -> None:  # type: ignore[no-untyped-def]
    config = dataclasses.replace(make_job().model, options={"hidden": [32, 16]})
    network = build_network(config)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    width = 2 * 4 + 3  # numbers, indicators, and a city's embedding
    products = [(width, 32), (32, 16), (16, 1)]
    forward = sum(2 * a * b for a, b in products)
    # Backward: a product for the weights and one for the inputs, which an embedding needs as well.
    assert flops_per_row(config, network) == 3 * forward
    assert all(torch.equal(before[name], t) for name, t in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize("model", ["resnet", "tabm"])
def test_operations_are_counted_without_values(make_job, model: str) -> None:  # type: ignore[no-untyped-def]
    options = {"numeric_embedding": "periodic"}
    factory = f"pipeline_assets.training.models.{model}:build"
    config = dataclasses.replace(make_job().model, factory=factory, options=options)
    with torch.device("meta"):
        weight = torch.nn.Linear(2**20, 2**16)  # 256 GiB, if it had values
    network = build_network(config)
    few = flops_per_row(config, network)
    network.register_module("unused", weight)
    assert few is not None and few > 0
    assert flops_per_row(config, network) == few


def test_a_network_that_asks_for_values_is_not_counted(make_job) -> None:  # type: ignore[no-untyped-def]
    config = dataclasses.replace(
        make_job().model,
        factory="tests.training.factories:overflowing",
        options={"furthest": 1.0},
    )
    assert flops_per_row(config, build_network(config)) is None


def test_samples_are_averaged_from_start_to_stop() -> None:
    enough = threading.Event()

    def sampled(first: list[float], then: float) -> Callable[[], float]:
        answers = chain(first, repeat(then))

        def sample() -> float:
            answer = next(answers)
            if answer == then:
                enough.set()
            return answer

        return sample

    mean = MeanOfSamples(sampled([10.0, 20.0, 60.0], 30.0), seconds=0.001)
    for _ in range(2):  # an epoch that is broken off, and the next one
        enough.clear()
        mean.start()
        assert enough.wait(10)
    assert mean.stop() == "30 %"
    assert not [t for t in threading.enumerate() if t.name == "utilisation"]
    mean = MeanOfSamples(lambda: 1.0, seconds=1000)
    mean.start()
    assert mean.stop() == "unknown (too short an epoch)"


@pytest.mark.parametrize(
    ("error", "said"),
    [(ModuleNotFoundError("pynvml"), "needs the extra `gpu`"), (OSError("no driver"), "no driver")],
)
def test_why_utilisation_is_unknown(error: Exception, said: str) -> None:
    asked = threading.Event()

    def sample() -> float:
        asked.set()
        raise error

    mean = MeanOfSamples(sample, seconds=0.001)
    mean.start()
    assert asked.wait(10)
    assert said in mean.stop()


def test_a_ceiling_is_above_what_a_small_product_reaches() -> None:
    small, large = (matmul_ceiling(CPU, torch.float32, size=size) for size in (4, 256))
    assert 0 < small < large
