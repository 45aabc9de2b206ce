"""What is counted and measured for a GPU, on the CPU; the report itself needs a GPU."""

import dataclasses

import pytest
import torch

from pipeline_assets.training.gpu_report import GpuReport, flops_per_row, matmul_ceiling
from pipeline_assets.training.model import build_network
from pipeline_assets.training.parallelize import Ranks

CPU = torch.device("cpu")


def test_operations_of_a_row(make_job) -> None:  # type: ignore[no-untyped-def]
    config = dataclasses.replace(make_job().model, options={"hidden": [32, 16]})
    network = build_network(config)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    width = 2 * 4 + 3  # numbers, indicators, and a city's embedding
    products = [(width, 32), (32, 16), (16, 1)]
    forward = sum(2 * a * b for a, b in products)
    # Backward: a product for the weights and one for the inputs, which an embedding needs as well.
    assert flops_per_row(config, network, CPU) == 3 * forward
    assert all(torch.equal(before[name], t) for name, t in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_a_ceiling_is_above_what_a_small_product_reaches() -> None:
    small, large = (matmul_ceiling(CPU, torch.float32, size=size) for size in (4, 256))
    assert 0 < small < large


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_report_of_a_gpu(make_job) -> None:  # type: ignore[no-untyped-def]
    job, device = make_job(), torch.device("cuda", 0)
    network = build_network(job.model).to(device)
    ranks = Ranks(rank=0, world_size=1, device=device)
    report = GpuReport(job.model, network, "float32", ranks)
    assert "1,000 samples/s" in report.line(1000.0)
