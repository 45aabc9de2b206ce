"""Rows per second out of a loader, shuffled, in batches: ours against the limit and against peers.

The limit is indexing tensors that lie in memory with a permutation, batch by batch. All hand out the
same columns (numeric, categorical, label, row id) as torch tensors; one warm-up epoch, then the best
of several, with one torch thread and with all. A peer that is not installed is skipped and says so.
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline_assets.shards import ShardIndex, ShardReader, write_shard
from tests.benchmarks.peers import stand_in_for_unused
from tests.benchmarks.report import Table, best_of

PACKED = 1024
NUMERIC, CATEGORICAL, SHARDS = 40, 4, 4
PACKAGES = ["torch", "numpy", "mosaicml-streaming", "datasets"]
Columns = dict[str, np.ndarray]
Epoch = Callable[[], Iterable[Any]]


def make_columns(rows: int) -> Columns:
    """Columns as the shards hold them."""
    rng = np.random.default_rng(0)
    return {
        "numeric": rng.normal(size=(rows, NUMERIC)).astype(np.float32),
        "categorical": rng.integers(0, 2**62, (rows, CATEGORICAL)),
        "label": rng.integers(0, 2, rows).astype(np.float32),
        "row_id": np.sort(rng.integers(0, 2**62, rows)),
    }


def ours(columns: Columns, folder: Path, batch_size: int) -> Epoch:
    """Shards on disk, through the reader."""
    shards = []
    for at, part in enumerate(np.array_split(np.arange(len(columns["row_id"])), SHARDS)):
        file = f"train/shard-{at:05d}.safetensors"
        arrays = {name: column[part] for name, column in columns.items()}
        shards.append(write_shard(str(folder / file), **arrays, file=file))  # type: ignore[arg-type]
    index = ShardIndex(
        numeric=tuple(f"n{k}" for k in range(NUMERIC)),
        categorical=tuple(f"c{k}" for k in range(CATEGORICAL)),
        shards=tuple(shards),
    )
    (folder / "index.json").write_text(json.dumps(index.to_dict()))
    reader = ShardReader(folder, "train")
    epochs = iter(range(10**6))

    def epoch() -> Iterator[list[torch.Tensor]]:
        for batch in reader.batches(batch_size, epoch=next(epochs)):
            yield [torch.from_numpy(column) for column in batch.rows]

    return epoch


def limit(columns: Columns, folder: Path, batch_size: int) -> Epoch:
    """Tensors in memory, indexed by parts of a permutation."""
    tensors = [torch.from_numpy(column) for column in columns.values()]

    def epoch() -> Iterator[list[torch.Tensor]]:
        order = torch.randperm(len(tensors[0]))
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            yield [tensor[rows] for tensor in tensors]

    return epoch


def tensor_dataset(columns: Columns, folder: Path, batch_size: int) -> Epoch:
    """The textbook's DataLoader: one row at a time, collated."""
    from torch.utils.data import DataLoader, TensorDataset

    tensors = [torch.from_numpy(column) for column in columns.values()]
    loader = DataLoader(TensorDataset(*tensors), batch_size=batch_size, shuffle=True)
    return lambda: loader


def mosaic_packed(columns: Columns, folder: Path, batch_size: int) -> Epoch:
    """MosaicML Streaming, 1,024 rows to a sample: shuffles samples, not the rows within."""
    with stand_in_for_unused():
        from streaming import MDSWriter, StreamingDataset

    types = {
        name: f"ndarray:{column.dtype}:{','.join(map(str, (PACKED, *column.shape[1:])))}"
        for name, column in columns.items()
    }
    with MDSWriter(out=str(folder), columns=types) as writer:
        for start in range(0, len(columns["row_id"]), PACKED):
            writer.write({k: c[start : start + PACKED] for k, c in columns.items()})
    dataset = StreamingDataset(local=str(folder), shuffle=True, batch_size=1)
    together = max(1, batch_size // PACKED)

    def epoch() -> Iterator[list[torch.Tensor]]:
        held: list[dict[str, np.ndarray]] = []
        for sample in dataset:
            held.append(sample)
            if len(held) == together:
                yield [torch.from_numpy(np.concatenate([s[k] for s in held])) for k in columns]
                held = []

    return epoch


def mosaic_rows(columns: Columns, folder: Path, batch_size: int) -> Epoch:
    """MosaicML Streaming as its documentation shows it: a row is a sample."""
    with stand_in_for_unused():
        from streaming import MDSWriter, StreamingDataset

    types = {
        "numeric": f"ndarray:float32:{NUMERIC}",
        "categorical": f"ndarray:int64:{CATEGORICAL}",
        "label": "float32",
        "row_id": "int64",
    }
    with MDSWriter(out=str(folder), columns=types) as writer:
        for at in range(len(columns["row_id"])):
            writer.write({name: column[at] for name, column in columns.items()})
    dataset = StreamingDataset(local=str(folder), shuffle=True, batch_size=batch_size)
    loader = torch.utils.data.DataLoader(dataset, batch_size=batch_size)
    return lambda: loader


def hugging_face(columns: Columns, folder: Path, batch_size: int) -> Epoch:
    """Hugging Face datasets, Arrow on disk, shuffled by an index, batches as tensors."""
    import datasets

    datasets.disable_progress_bars()
    flat = {f"numeric{k}": columns["numeric"][:, k] for k in range(NUMERIC)}
    flat |= {f"categorical{k}": columns["categorical"][:, k] for k in range(CATEGORICAL)}
    flat |= {"label": columns["label"], "row_id": columns["row_id"]}
    datasets.Dataset.from_dict(flat).save_to_disk(folder)
    stored = datasets.load_from_disk(str(folder)).with_format("torch")
    seeds = iter(range(10**6))
    return lambda: stored.shuffle(seed=next(seeds)).iter(batch_size)  # type: ignore[union-attr]


def rate(
    build: Callable[..., Epoch], rows: int, batch_size: int, repeats: int
) -> tuple[float, float]:
    """Seconds of the best epoch, and rows per second in it."""
    with tempfile.TemporaryDirectory() as folder:
        epoch = build(make_columns(rows), Path(folder), batch_size)
        touched = 0.0

        def run() -> None:
            nonlocal touched
            for batch in epoch():
                # A value of every tensor is read: a view would not count as loaded.
                tensors = batch.values() if isinstance(batch, dict) else batch
                touched += sum(float(tensor.reshape(-1)[0]) for tensor in tensors)

        run()
        seconds, _ = best_of(repeats, run)
        # On a machine that does other work too, torch's threads may wait for each other.
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        seconds = min(seconds, best_of(repeats, run)[0])
        torch.set_num_threads(threads)
    return seconds, rows / seconds


def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=300 * PACKED, help="a multiple of 1,024")
    parser.add_argument("--batch-size", type=int, default=4096, help="a multiple of 1,024")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args(arguments)
    rows, size, repeats = options.rows, options.batch_size, options.repeats
    few = max(PACKED, rows // 20 // PACKED * PACKED)
    width = NUMERIC + CATEGORICAL + 2
    table = Table(f"Loader: {rows:,} rows of {width} columns, shuffled, batches of {size:,}")
    seconds, mine = rate(ours, rows, size, repeats)
    table.row("shards", seconds, note=f"{mine:,.0f} rows/s, all rows of a window shuffled")
    for what, build, needs, count, aim in (
        ("in-memory tensors (the limit)", limit, "torch", rows, 0.9),
        ("MosaicML Streaming, packed", mosaic_packed, "streaming", rows, 2.0),
        ("MosaicML Streaming, per row", mosaic_rows, "streaming", few, 50.0),
        ("DataLoader(TensorDataset)", tensor_dataset, "torch", few, None),
        ("Hugging Face datasets", hugging_face, "datasets", few, None),
    ):
        if find_spec(needs) is None:
            table.row(what, None, aim=aim, note=f"skipped: package {needs!r} is not installed")
            continue
        seconds, theirs = rate(build, count, size, repeats if count == rows else 1)
        note = f"{theirs:,.0f} rows/s" + (f", {count:,} rows" if count != rows else "")
        table.row(what, seconds, ratio=mine / theirs, aim=aim, note=f"{note}; ratio shards / this")
    table.print(packages=PACKAGES)


if __name__ == "__main__":
    main()
