"""Two gloo ranks against two trainings that know nothing of each other and run at the same time.

The second is what the machine gives to two processes. A bare loop, with its rows in memory and nothing but
the update, is measured in the same two ways: what synchronous training costs on this machine, whoever does it. All
have one thread, take turns, and the middle of the turns' ratios counts: the machine is not the same from one
second to the next.
"""

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import torch
import torch.distributed as dist
from torch import nn

from pipeline_assets.training.config import LaunchConfig, TrainingJob
from tests.benchmarks.loader import Columns, make_columns
from tests.benchmarks.report import Table
from tests.benchmarks.training import BATCH, VOCABULARY, make_job, rates
from tests.benchmarks.training_peers import limit, rows_per_second

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
BARE = "import sys; from tests.benchmarks.training_ranks import bare; bare(*sys.argv[1:])"


def bare(job_path: str, rows: str, rank: str, store: str) -> None:
    """Print the rows per second of a bare loop on this process' half of the rows; alone without `store`."""
    torch.set_num_threads(1)
    job = TrainingJob.load(job_path)
    columns = {name: column[int(rank) :: 2] for name, column in _columns(int(rows)).items()}

    def replicated(network: nn.Module) -> nn.Module:
        group = dist.FileStore(store, 2)  # pyright: ignore[reportPrivateImportUsage]
        dist.init_process_group("gloo", store=group, rank=int(rank), world_size=2)
        return nn.parallel.DistributedDataParallel(network, forward_sync_buffers=False)

    wrap = replicated if store else nn.Module.train
    epoch = limit(job, columns, torch.device("cpu"), wrap)
    found = [rows_per_second(epoch) for _ in range(job.training.max_epochs)]
    print(median(found[1:]), flush=True)
    # As in a training: destroying the group may hang.
    os._exit(0)


def ranks(rows: int, epochs: int, turns: int) -> Table:
    """The table."""
    # Ranks must have equally many batches.
    rows -= rows % (2 * BATCH)
    columns = _columns(rows)
    table = Table(f"Two gloo ranks, {BATCH:,} rows a rank, one thread each")
    found: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        alone = make_job(folder / "alone", columns, batch_size=BATCH, epochs=epochs)
        both = make_job(folder / "both", columns, batch_size=2 * BATCH, epochs=epochs)
        for turn in range(turns):
            here = folder / str(turn)
            found.append(
                {
                    "ranks": _run_ranks(both, here / "ranks"),
                    "apart": _run_apart(alone, [here / f"apart-{k}" for k in range(2)]),
                    "bare ranks": _run_bare(alone, rows, here / "bare-ranks", together=True),
                    "bare apart": _run_bare(alone, rows, here / "bare-apart", together=False),
                }
            )
    for what, name, peer, aim in (
        ("two ranks, against two trainings at the same time", "ranks", "apart", 0.9),
        ("the bare loop under DDP, against two of it", "bare ranks", "bare apart", None),
        ("two ranks, against the bare loop under DDP", "ranks", "bare ranks", None),
    ):
        ratios = sorted(turn[name] / turn[peer] for turn in found)
        rate, theirs = (median(turn[key] for turn in found) for key in (name, peer))
        note = f"{rate:,.0f} and {theirs:,.0f} rows/s; {ratios[0]:.2f} to {ratios[-1]:.2f} in {turns} turns"
        table.row(what, rows / rate, ratio=median(ratios), aim=aim, note=note)
    return table


def _columns(rows: int) -> Columns:
    columns = make_columns(rows)
    columns["categorical"] %= VOCABULARY + 5
    return columns


def _run_ranks(job: TrainingJob, output: Path) -> float:
    path = _write(dataclasses.replace(job, launch=LaunchConfig(processes=2)), output)
    command = [sys.executable, "-m", "pipeline_assets.training.launch", str(path)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=ENVIRONMENT)
    return median(rates(output)[1:])


def _run_apart(job: TrainingJob, outputs: list[Path]) -> float:
    worker = [sys.executable, "-m", "pipeline_assets.training.worker"]
    _at_once([[*worker, str(_write(job, output))] for output in outputs])
    return sum(median(rates(output)[1:]) for output in outputs)


def _run_bare(job: TrainingJob, rows: int, folder: Path, *, together: bool) -> float:
    path = _write(job, folder)
    store = str(folder / "store") if together else ""
    command = [sys.executable, "-c", BARE, str(path), str(rows)]
    return sum(map(float, _at_once([[*command, str(rank), store] for rank in range(2)])))


def _at_once(commands: list[list[str]]) -> list[str]:
    """What processes print that run at the same time; all must end well."""
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT)
        for command in commands
    ]
    said = [process.communicate()[0] for process in processes]
    for process in processes:
        if process.returncode != 0:
            raise SystemExit(f"a training ended with status {process.returncode}")
    return said


def _write(job: TrainingJob, output: Path) -> Path:
    """Write the job of one run, with folders of its own, and return the file."""
    output.mkdir(parents=True)
    job = dataclasses.replace(job, output=str(output), checkpoints=str(output / "checkpoints"))
    path = output / "job.json"
    path.write_text(json.dumps(job.to_dict()))
    return path


def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=150 * BATCH)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args(arguments)
    ranks(options.rows, options.epochs, options.turns).print(packages=["torch", "numpy"])


if __name__ == "__main__":
    main()
