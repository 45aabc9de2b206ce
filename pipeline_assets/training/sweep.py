"""Finds the best settings for this machine: `python -m pipeline_assets.training.sweep job.json`.

Real training steps on the job's shards, a few seconds for each candidate, in processes of their own.
What is trained is thrown away; nothing is written but to a temporary folder.
"""

import argparse
import json
import math
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from pipeline_assets.shards.index import ShardError, load_index
from pipeline_assets.training.config import Precision, TrainingError, TrainingJob
from pipeline_assets.training.processes import SWEEP_PID, available_cores

What = Literal["dataloader", "precision"]
SECONDS = 2.0
"""For each candidate, unless another time is given."""
DESCRIPTION = """\
Takes real training steps on the published shards, a few seconds for each candidate, and prints how many
rows a second this machine trains. What is trained is thrown away; nothing is published.

  dataloader   batch sizes (powers of two around the configured one) with numbers of ranks and threads
  precision    float32, tf32, bfloat16 and float16, with the validation loss after the same steps

Other work on the machine spoils the figures: run it when there is none.
"""


def sweep(job: TrainingJob, what: What, *, seconds: float = SECONDS) -> dict[str, Any]:
    """Print a table of what this machine does, and the best; return the best.

    Args:
        job: its shards, model and settings; its output and checkpoints are left alone.
        what: to try.
        seconds: for each candidate.

    Raises:
        TrainingError: there is nothing to train on, or a process failed.
        ShardError: the shards cannot be read.
    """
    if not seconds > 0:
        raise TrainingError(f"--seconds is {seconds:g}: a candidate needs some time")
    rows = load_index(job.shards).split_rows.get("train", 0)
    if rows == 0:
        raise TrainingError(f"the shards in {job.shards} have no training rows")
    import torch

    gpus, cores = torch.cuda.device_count(), available_cores()
    _say(
        f"{what}: {rows:,} training rows, {cores} cores, {gpus} GPUs; {seconds:g} seconds for each line"
    )
    if what == "precision":
        return _precisions(job, gpus, cores, seconds)
    return _batch_sizes(job, rows, gpus, cores, seconds)


def batch_sizes(configured: int, rows: int) -> list[int]:
    """The configured one and the powers of two around it, as far as there are so many rows.

    >>> batch_sizes(1000, 3000)
    [256, 512, 1000, 1024, 2048]
    """
    middle = round(math.log2(configured))
    around = {2**power for power in range(max(middle - 2, 0), middle + 3)}
    return sorted({size for size in around | {configured} if size <= rows} or {rows})


def _batch_sizes(
    job: TrainingJob, rows: int, gpus: int, cores: int, seconds: float
) -> dict[str, Any]:
    results = []
    sizes = batch_sizes(job.training.batch_size, rows)
    _say(
        f"{'batch size':>12}{'ranks':>8}{'threads each':>14}{'rows/s':>14}{'waiting for data':>18}"
    )
    for ranks in _powers(gpus or cores):
        each = max(1, cores // ranks)
        # Small networks may be quicker without others of the same rank to wait for.
        threads = [each] if gpus else sorted({1, each})
        plan = {"what": "dataloader", "threads": threads, "batch_sizes": sizes}
        for found in _measure(job, plan, ranks=ranks, threads=each, seconds=seconds):
            results.append(found)
            _say(
                f"{found['batch_size']:>12,}{found['ranks']:>8}{found['threads']:>14}"
                f"{found['rows_per_second']:>14,.0f}{found['waiting']:>18.1%}"
            )
    best = max(results, key=lambda found: found["rows_per_second"])
    _say(
        f"best: {best['rows_per_second']:,.0f} rows/s with training.batch_size {best['batch_size']} in the "
        f"use case (another learning_rate may suit it), training.processes {best['ranks']} in the "
        f"environment and OMP_NUM_THREADS={best['threads']}"
    )
    return best


def _precisions(job: TrainingJob, gpus: int, cores: int, seconds: float) -> dict[str, Any]:
    processes = job.launch.processes if job.launch.processes != "auto" else gpus or 2
    results = []
    _say(f"{'precision':>12}{'rows/s':>14}{'steps':>8}{'loss':>12}{'difference':>14}")
    plan = {"what": "precision", "precisions": list(get_args(Precision))}
    each = max(1, cores // processes)
    for found in _measure(job, plan, ranks=processes, threads=each, seconds=seconds):
        if "reason" in found:
            _say(f"{found['precision']:>12}  not available: {found['reason']}")
            continue
        results.append(found)
        _say(
            f"{found['precision']:>12}{found['rows_per_second']:>14,.0f}{found['steps']:>8,}"
            f"{found['loss']:>12.6f}{found['loss'] - results[0]['loss']:>+14.6f}"
        )
    best = max(results, key=lambda found: found["rows_per_second"])
    _say(
        f"best: {best['rows_per_second']:,.0f} rows/s with training.precision {best['precision']} in the "
        f"use case, on {processes} ranks"
    )
    return best


def _measure(
    job: TrainingJob, plan: dict[str, Any], *, ranks: int, threads: int, seconds: float
) -> Iterator[dict[str, Any]]:
    """Start the ranks and yield what they find, as they find it."""
    with tempfile.TemporaryDirectory(prefix="pipeline_assets_sweep_") as folder:
        path = Path(folder) / "plan.json"
        path.write_text(json.dumps({**plan, "job": job.to_dict(), "seconds": seconds}))
        environment = os.environ | {
            "WORLD_SIZE": str(ranks),
            "LOCAL_WORLD_SIZE": str(ranks),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(_free_port()),
            "GLOO_SOCKET_IFNAME": "lo",
            "OMP_NUM_THREADS": str(threads),
            "TORCH_CPP_LOG_LEVEL": "ERROR",
        }
        environment.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        processes = [
            subprocess.Popen(
                [sys.executable, "-m", "pipeline_assets.training.sweep_ranks", str(path)],
                env=environment
                | {"RANK": str(rank), "LOCAL_RANK": str(rank), SWEEP_PID: str(os.getpid())},
                stdout=subprocess.PIPE if rank == 0 else subprocess.DEVNULL,
                text=True,
            )
            for rank in range(ranks)
        ]
        try:
            for line in processes[0].stdout or ():
                found = _result(line)
                if found is None:
                    continue
                if "error" in found:
                    raise TrainingError(found["error"])
                yield found
            status = max(abs(process.wait()) for process in processes)
        finally:
            for process in processes:
                process.kill()
                process.communicate()
        if status:
            raise TrainingError(
                f"a process of the sweep ended with status {status}; what it said is above"
            )


def _powers(limit: int) -> list[int]:
    """1, 2, 4, … and the limit."""
    return sorted({2**power for power in range(limit.bit_length())} | {limit})


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="python -m pipeline_assets.training.sweep",
        description=DESCRIPTION,
        formatter_class=form,
    )
    parser.add_argument("job", help="JSON file of a training job, as the launcher reads it")
    parser.add_argument(
        "--what",
        choices=get_args(What),
        default="dataloader",
        help="what to try (default: dataloader)",
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=SECONDS,
        help="time for each candidate (default: %(default)g)",
    )
    options = parser.parse_args(arguments)
    try:
        sweep(TrainingJob.load(options.job), options.what, seconds=options.seconds)
    except (TrainingError, ShardError) as error:
        sys.stderr.write(f"sweep failed: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())


def _result(line: str) -> dict[str, Any] | None:
    """A line of `sweep_ranks`, or None for what a model of somebody else's has printed."""
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
