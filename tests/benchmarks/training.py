"""Rows per second of the whole training loop, on shards, against loops that do less and loops that are usual.

All train the shipped perceptron on the same rows with the same optimiser, clipping and batches; times
are of training epochs, without validation. The loops take turns, and each counts its best epoch, since
other work on the machine only ever slows. One thread of torch is the default: it is what each of two ranks
has on two cores, and threads that wait for each other measure other work. Two ranks are compared with two trainings that know nothing
of each other and run at the same time: what the machine gives to two processes; these run on CPUs, the
loops in one process on a GPU where there is one. What a GPU is used for is in `training_gpu`.
"""

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import numpy as np
import torch

from pipeline_assets.shards import ShardIndex, write_shard
from pipeline_assets.training.config import (
    CategoricalFeature,
    LaunchConfig,
    ModelConfig,
    NumericFeature,
    PreprocessorConfig,
    TrainingConfig,
    TrainingJob,
)
from pipeline_assets.training.progress import METRICS_FILE
from tests.benchmarks.loader import CATEGORICAL, NUMERIC, SHARDS, Columns, make_columns
from tests.benchmarks.report import Table
from tests.benchmarks.training_peers import (
    Epoch,
    device_of_loop,
    lightning,
    limit,
    rows_per_second,
    textbook,
)

BATCH, VOCABULARY, VALIDATION = 4096, 50, 4096
PACKAGES = ["torch", "numpy", "pytorch-lightning"]
_ON_CPUS = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def make_job(folder: Path, columns: Columns, *, batch_size: int, epochs: int) -> TrainingJob:
    """Write shards of the columns and return a training on them."""
    shards = []
    for split, parts in (
        ("train", np.array_split(np.arange(len(columns["row_id"])), SHARDS)),
        ("validation", [np.arange(VALIDATION)]),
    ):
        for at, part in enumerate(parts):
            file = f"{split}/shard-{at:05d}.safetensors"
            arrays = {name: column[part] for name, column in columns.items()}
            shards.append(
                write_shard(str(folder / "shards" / file), **arrays, file=file, split=split)  # type: ignore[arg-type]
            )
    names = [f"n{k}" for k in range(NUMERIC)], [f"c{k}" for k in range(CATEGORICAL)]
    index = ShardIndex(numeric=tuple(names[0]), categorical=tuple(names[1]), shards=tuple(shards))
    (folder / "shards" / "index.json").write_text(json.dumps(index.to_dict()))
    edges = tuple(np.linspace(-2, 2, 9).tolist())
    preprocessor = PreprocessorConfig(
        numeric=tuple(
            NumericFeature(name=name, mean=0.0, std=1.0, median=0.0, edges=edges)
            for name in names[0]
        ),
        categorical=tuple(
            CategoricalFeature(name=name, vocabulary=tuple(range(VOCABULARY))) for name in names[1]
        ),
    )
    return TrainingJob(
        shards=str(folder / "shards"),
        output=str(folder / "model"),
        checkpoints=str(folder / "checkpoints"),
        model=ModelConfig(preprocessor=preprocessor),
        training=TrainingConfig(
            batch_size=batch_size, max_epochs=epochs, patience=epochs, learning_rate=1e-3
        ),
        launch=LaunchConfig(processes=1),
    )


def ours(job: TrainingJob, turn: int) -> float:
    """Rows per second of the best epoch of a training in this process."""
    from pipeline_assets.training.worker import train

    output = Path(job.output) / str(turn)
    job = dataclasses.replace(
        job, output=str(output), checkpoints=str(output / "checkpoints"), seed=turn
    )
    train(job)
    torch.use_deterministic_algorithms(False)
    return max(_rates(output))


def loops(rows: int, turns: int, few: int) -> Table:
    """One process: the loop on shards and its peers."""
    columns = make_columns(rows)
    columns["categorical"] %= VOCABULARY + 5
    part = {name: column[:few] for name, column in columns.items()}
    device = device_of_loop()
    table = Table(
        f"Training on {device.type}, {rows:,} rows of {NUMERIC + CATEGORICAL} features, batches of {BATCH:,}"
    )
    with tempfile.TemporaryDirectory() as name:
        job = make_job(Path(name), columns, batch_size=BATCH, epochs=3)
        bare = limit(job, columns, device)
        rates, limits = [], []
        for turn in range(turns):
            rates.append(ours(job, turn))
            limits.append(max(rows_per_second(bare) for _ in range(3)))
        mine = max(rates)
        table.row("the loop, on shards", rows / mine, note=f"{mine:,.0f} rows/s")
        _against(table, "the update alone, tensors in memory (the limit)", mine, max(limits), 0.95)
        if find_spec("pytorch_lightning") is None:
            note = "skipped: package 'pytorch-lightning' is not installed"
            table.row("Lightning, its usual DataLoader", None, aim=1.3, note=note)
        else:
            rate = _best(lightning(job, part, device), turns)
            _against(table, "Lightning, its usual DataLoader", mine, rate, 1.3)
        _against(
            table, "DataLoader and .item()", mine, _best(textbook(job, part, device), turns), 2.0
        )
    return table


def ranks(rows: int, epochs: int, turns: int) -> Table:
    """Two ranks against two trainings at the same time; all processes have one thread."""
    columns = make_columns(rows)
    columns["categorical"] %= VOCABULARY + 5
    table = Table(f"Two gloo ranks, {BATCH:,} rows a rank, one thread each")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        alone = make_job(folder / "alone", columns, batch_size=BATCH, epochs=epochs)
        both = make_job(folder / "both", columns, batch_size=2 * BATCH, epochs=epochs)
        together, apart = [], []
        for turn in range(turns):
            together.append(_run_ranks(both, folder / f"both-{turn}"))
            apart.append(_run_apart(alone, [folder / f"alone-{turn}-{k}" for k in range(2)]))
    table.row("two trainings at the same time", None, note=f"{max(apart):,.0f} rows/s together")
    rate = max(together)
    table.row(
        "two ranks", rows / rate, ratio=rate / max(apart), aim=0.9, note=f"{rate:,.0f} rows/s"
    )
    return table


def _run_ranks(job: TrainingJob, output: Path) -> float:
    path = _write(dataclasses.replace(job, launch=LaunchConfig(processes=2)), output)
    environment = {**os.environ, **_ON_CPUS}
    command = [sys.executable, "-m", "pipeline_assets.training.launch", str(path)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
    return median(_rates(output)[1:])


def _run_apart(job: TrainingJob, outputs: list[Path]) -> float:
    environment = {**os.environ, **_ON_CPUS}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "pipeline_assets.training.worker", str(_write(job, output))],
            stdout=subprocess.DEVNULL,
            env=environment,
        )
        for output in outputs
    ]
    for process in processes:
        if process.wait() != 0:
            raise SystemExit(f"a training ended with status {process.returncode}")
    return sum(median(_rates(output)[1:]) for output in outputs)


def _write(job: TrainingJob, output: Path) -> Path:
    """Write the job of one run, with folders of its own, and return the file."""
    output.mkdir(parents=True)
    job = dataclasses.replace(job, output=str(output), checkpoints=str(output / "checkpoints"))
    path = output / "job.json"
    path.write_text(json.dumps(job.to_dict()))
    return path


def _rates(output: Path) -> list[float]:
    lines = (output / METRICS_FILE).read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["rows_per_second"] for line in lines]


def _best(epoch: Epoch, turns: int) -> float:
    return max(rows_per_second(epoch) for _ in range(turns))


def _against(table: Table, what: str, mine: float, theirs: float, aim: float) -> None:
    table.row(
        what, None, ratio=mine / theirs, aim=aim, note=f"{theirs:,.0f} rows/s; ratio loop / this"
    )


def main(arguments: list[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=150 * BATCH)
    parser.add_argument("--few", type=int, default=25 * BATCH, help="rows for loops that are slow")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, help="of torch, for one process")
    parser.add_argument("--epochs", type=int, default=5, help="of the ranks")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    loops(options.rows, options.turns, options.few).print(packages=PACKAGES)
    ranks(options.rows, options.epochs, options.turns).print(packages=PACKAGES)


if __name__ == "__main__":
    main()
