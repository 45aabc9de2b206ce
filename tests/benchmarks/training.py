"""Rows per second of the whole training loop, on shards, against loops that do less and loops that are usual.

All train the shipped perceptron on the same rows with the same optimiser, clipping and batches; times
are of training epochs, without validation. The loops take turns, and each counts its best epoch, since
other work on the machine only ever slows. One thread of torch is the default: it is what each of two ranks
has on two cores, and threads that wait for each other measure other work. The loops run on a GPU where there
is one; what that is used for is in `training_gpu`, several ranks in `training_ranks`.
"""

import argparse
import dataclasses
import json
import tempfile
from importlib.util import find_spec
from pathlib import Path

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
    return max(rates(output))


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
        loop, limits = [], []
        for turn in range(turns):
            loop.append(ours(job, turn))
            limits.append(max(rows_per_second(bare) for _ in range(3)))
        mine = max(loop)
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


def rates(output: Path) -> list[float]:
    """Rows per second of each epoch of a training."""
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
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    loops(options.rows, options.turns, options.few).print(packages=PACKAGES)


if __name__ == "__main__":
    main()
