"""What a GPU does in the training loop: number formats and batch sizes against what the card can do.

Rows per second of the best epoch of a training on shards, without validation; operations of the network's
products against a large product in the same format, measured on the card; the largest memory; the mean of
the driver's samples of utilisation, validation included.
"""

import argparse
import dataclasses
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from pipeline_assets.training.config import ModelConfig, Precision, TrainingJob
from pipeline_assets.training.gpu_report import MeanOfSamples, flops_per_row, matmul_ceiling
from pipeline_assets.training.model import build_network
from pipeline_assets.training.precision import set_precision
from tests.benchmarks.loader import CATEGORICAL, NUMERIC, make_columns
from tests.benchmarks.report import Table
from tests.benchmarks.training import VOCABULARY, make_job, ours
from tests.benchmarks.training_peers import device_of_loop

NETWORKS = {
    "mlp": {},
    "resnet": {
        "factory": "pipeline_assets.training.models.resnet:build",
        "options": {"width": 1024, "blocks": 4},
    },
}
PRECISIONS: tuple[Precision, ...] = ("float32", "tf32", "bfloat16", "float16")
BATCHES = (4096, 16_384, 65_536, 262_144)
UTILISATION = 0.9
_CEILING_SIZE = {"cuda": 8192, "cpu": 1024}
_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def table_of(
    job: TrainingJob, rows: int, precisions: Sequence[Precision], batches: Sequence[int], name: str
) -> Table:
    """Train a network in each format with each batch size."""
    device = device_of_loop()
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPUs"
    table = Table(f"{name} on {card}, {rows:,} rows of {NUMERIC + CATEGORICAL} features")
    flops = flops_per_row(job.model, build_network(job.model))
    assert flops is not None
    for precision in precisions:
        set_precision(precision, device)
        dtype = _DTYPES.get(precision, torch.float32)
        ceiling = matmul_ceiling(device, dtype, size=_CEILING_SIZE[device.type])
        measured = [
            _measure(job, precision, batch, device) for batch in batches if 4 * batch <= rows
        ]
        best = max(measured, key=lambda found: found[1])
        for batch, rate, memory, utilisation in measured:
            achieved = flops * rate
            note = (
                f"{rate:,.0f} rows/s, {achieved / 1e12:.3g} TFLOP/s, "
                f"{achieved / ceiling:.1%} of {ceiling / 1e12:.3g}{memory}"
            )
            table.row(
                f"{precision}, batches of {batch:,}; ratio utilisation",
                rows / rate,
                ratio=utilisation,
                aim=UTILISATION if utilisation is not None and batch == best[0] else None,
                note=note,
            )
    return table


def _measure(
    job: TrainingJob, precision: Precision, batch: int, device: torch.device
) -> tuple[int, float, str, float | None]:
    """Batch size, rows per second, memory in words, utilisation."""
    settings = dataclasses.replace(job.training, precision=precision, batch_size=batch)
    output = Path(job.output) / f"{precision}-{batch}"
    job = dataclasses.replace(job, training=settings, output=str(output))
    if device.type == "cpu":
        return batch, ours(job, 0), "", None
    torch.cuda.reset_peak_memory_stats(device)
    utilisation = MeanOfSamples(lambda: torch.cuda.utilization(device), seconds=0.2)
    utilisation.start()
    rate = ours(job, 0)
    said, mean = utilisation.stop(), utilisation.mean
    memory = torch.cuda.max_memory_allocated(device) / 2**30
    words = f", {memory:.2f} GiB" + ("" if mean is not None else f", utilisation {said}")
    return batch, rate, words, None if mean is None else mean / 100


def main(arguments: list[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--rows", type=int, default=16 * max(BATCHES))
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=PRECISIONS)
    parser.add_argument("--batches", nargs="+", type=int, default=BATCHES)
    options = parser.parse_args(arguments)
    if options.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    elif not torch.cuda.device_count():
        print(
            "training_gpu: skipped, this machine has no GPU (--device cpu tries the table on CPUs)"
        )
        return
    # As ranks do it, before the first use of the GPU.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    columns = make_columns(options.rows)
    columns["categorical"] %= VOCABULARY + 5
    for name in options.networks:
        with tempfile.TemporaryDirectory() as folder:
            job = make_job(Path(folder), columns, batch_size=4096, epochs=options.epochs)
            model: ModelConfig = dataclasses.replace(job.model, **NETWORKS[name])
            job = dataclasses.replace(job, model=model)
            table_of(job, options.rows, options.precisions, options.batches, name).print(
                packages=["torch", "numpy"]
            )


if __name__ == "__main__":
    main()
