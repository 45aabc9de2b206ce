"""Finds the best settings for this machine: `python -m pipeline_assets.training.sweep job.json`.

Real training steps on the job's shards, a few seconds for each candidate, in processes of their own.
What is trained is thrown away; nothing is written but to a temporary folder.
"""

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any, Literal, get_args

from pipeline_assets.shards.index import ShardError, load_index
from pipeline_assets.training.config import Precision, TrainingError, TrainingJob
from pipeline_assets.training.processes import available_cores
from pipeline_assets.training.sweep_processes import measure

What = Literal["dataloader", "precision"]
SECONDS = 2.0
"""For each candidate, unless another time is given."""
_DOUBLINGS = 2
"""Of the configured batch size, whether or not they gain."""
_MOST_DOUBLINGS = 10
_GAIN = 1.05
"""Below this, a batch size gains nothing over smaller ones."""
DESCRIPTION = """\
Takes real training steps on the published shards, a few seconds for each candidate, and prints how many
rows a second this machine trains. What is trained is thrown away; nothing is published.

  dataloader   batch sizes (powers of two from a quarter of the configured one on, for as long as they
               gain and memory lasts) with numbers of ranks, which are the workers here, and threads
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


def batch_sizes(configured: int, rows: int, *, doublings: int) -> list[int]:
    """The configured one and powers of two from a quarter of it on, as far as there are so many rows.

    >>> batch_sizes(1000, 3000, doublings=2)
    [256, 512, 1000, 1024, 2048]
    """
    middle = round(math.log2(configured))
    around = {2**power for power in range(max(middle - 2, 0), middle + doublings + 1)}
    return sorted({size for size in around | {configured} if size <= rows} or {rows})


def _batch_sizes(
    job: TrainingJob, rows: int, gpus: int, cores: int, seconds: float
) -> dict[str, Any]:
    configured = job.training.batch_size
    sizes = batch_sizes(configured, rows, doublings=_MOST_DOUBLINGS)
    always = set(batch_sizes(configured, rows, doublings=_DOUBLINGS))
    results = []
    _say(
        f"{'batch size':>12}{'ranks':>8}{'threads each':>14}{'rows/s':>14}{'waiting for data':>18}"
    )
    for ranks, threads in _processes(gpus, cores):
        rates: list[float] = []
        found_here = measure(
            job, "dataloader", sizes, ranks=ranks, threads=threads, seconds=seconds
        )
        with closing(found_here) as measured:
            for found in measured:
                where = f"{found['candidate']:>12,}{ranks:>8}{threads:>14}"
                if "reason" in found:
                    # Larger ones need more.
                    _say(f"{where}  not available: {found['reason']}")
                    break
                _say(f"{where}{found['rows_per_second']:>14,.0f}{found['waiting']:>18.1%}")
                rates.append(found["rows_per_second"])
                results.append({**found, "ranks": ranks, "threads": threads})
                if found["candidate"] not in always and _gains_no_more(rates):
                    break
    best = _best(results)
    ranks, threads = best["ranks"], best["threads"]
    _say(
        f"best for this machine: batch size {best['candidate']:,} and {_number(ranks, 'rank')} of "
        f"{_number(threads, 'thread')}: {best['rows_per_second']:,.0f} rows/s\n"
        f"  in the use case: training.batch_size {best['candidate']} (another learning_rate may suit it)\n"
        f"  in the environment: training.processes {ranks}, and the variable OMP_NUM_THREADS={threads}\n"
        "  the ranks are the workers here: each reads its rows in a thread of its own, so there is no "
        "number of loader workers to choose"
    )
    return best


def _processes(gpus: int, cores: int) -> Iterator[tuple[int, int]]:
    """Numbers of ranks with numbers of threads."""
    for ranks in _powers(gpus or cores):
        each = max(1, cores // ranks)
        # Small networks may be quicker without others of the same rank to wait for.
        for threads in [each] if gpus else sorted({1, each}):
            yield ranks, threads


def _gains_no_more(rates: list[float]) -> bool:
    """Whether the last two brought next to nothing over those before."""
    return len(rates) > 2 and max(rates[-2:]) < _GAIN * max(rates[:-2])


def _precisions(job: TrainingJob, gpus: int, cores: int, seconds: float) -> dict[str, Any]:
    ranks = job.launch.processes if job.launch.processes != "auto" else gpus or 2
    results = []
    _say(f"{'precision':>12}{'rows/s':>14}{'steps':>8}{'loss':>12}{'difference':>14}")
    threads = max(1, cores // ranks)
    names = get_args(Precision)
    for found in measure(job, "precision", names, ranks=ranks, threads=threads, seconds=seconds):
        if "reason" in found:
            _say(f"{found['candidate']:>12}  not available: {found['reason']}")
            continue
        results.append(found)
        _say(
            f"{found['candidate']:>12}{found['rows_per_second']:>14,.0f}{found['steps']:>8,}"
            f"{found['loss']:>12.6f}{found['loss'] - results[0]['loss']:>+14.6f}"
        )
    best = _best(results)
    _say(
        f"best for this machine: {best['rows_per_second']:,.0f} rows/s with training.precision "
        f"{best['candidate']} in the use case, on {_number(ranks, 'rank')} of {_number(threads, 'thread')}"
    )
    return best


def _best(results: list[dict[str, Any]]) -> dict[str, Any]:
    if not results:
        raise TrainingError(
            "nothing could be measured: see above. Where memory is short, a smaller training.batch_size "
            "in the use case is where the sweep begins"
        )
    return max(results, key=lambda found: found["rows_per_second"])


def _powers(limit: int) -> list[int]:
    """1, 2, 4, … and the limit."""
    return sorted({2**power for power in range(limit.bit_length())} | {limit})


def _number(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


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
