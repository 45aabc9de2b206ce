"""Step time with checkpoints against without: ours, and files written in the loop, as it is usual.

A perceptron with a large embedding table, whose checkpoint (weights, two moments, best weights) has tens
of megabytes and whose steps are quick. Long epochs are to be saved every second, short ones at their end;
ours saves less often where that would cost too much. Times are of whole epochs, validation included, from
the start of the first to the start of the last, so that the forced save at the end does not count. The
ways take turns; a ratio is the median over turns, each against the training without in its turn. Where
other work on the machine makes that noise, the second row of a way tells more: what its saves took, of the
training thread and of a processor by the writing one, against the rest of the same time. Ranks may take
all cores, and then the writing thread has none to itself.
"""

import argparse
import dataclasses
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch
from safetensors.torch import save_file

from pipeline_assets.training.checkpoint import TENSORS, snapshot
from pipeline_assets.training.checkpoint_writer import Cadence
from pipeline_assets.training.config import CategoricalFeature, ModelConfig, TrainingJob
from pipeline_assets.training.heartbeat import Heartbeat
from pipeline_assets.training.parallelize import join_ranks
from pipeline_assets.training.progress import Progress
from pipeline_assets.training.trainer import Trainer
from tests.benchmarks.loader import make_columns
from tests.benchmarks.report import Table
from tests.benchmarks.training import BATCH, VOCABULARY, make_job

CATEGORIES, WIDTH = 250_000, 16
EVERY_SECOND, NEVER = 1.0, 1e9


class Clock(Progress):
    """Notes when epochs begin, and says nothing."""

    def __init__(self, output: Path, job: TrainingJob) -> None:
        settings = job.training
        super().__init__(
            output, max_epochs=settings.max_epochs, monitor=settings.monitor, writes=False
        )
        self.saving = 0.0
        self.saves = 0
        self.noted: list[tuple[float, float, int]] = []

    def start_epoch(self, epoch: int, rows: int, done: int) -> None:
        self.noted.append((time.perf_counter(), self.saving, self.saves))

    def saved(self, started: float) -> None:
        """A save has taken the training thread since `started`."""
        self.saving += time.perf_counter() - started
        self.saves += 1


class AsOftenAsAsked(Cadence):
    """Without a bound on the cost."""

    def saved(self, cost: float) -> None:
        super().saved(0.0)


class InTheLoop(Trainer):
    """Saves where it trains, to one file; without fsync, hash or a rename, which ours have."""

    def __init__(self, job: TrainingJob, clock: Clock) -> None:
        super().__init__(job, join_ranks(), clock, Heartbeat())
        self.clock = clock
        seconds = job.training.checkpoint_seconds
        self.cadence = AsOftenAsAsked(seconds, self.ranks, self.checkpoints, size=0)

    def _checkpoint(self) -> None:
        started = time.perf_counter()
        self.write(Path(self.job.checkpoints) / "latest")
        self.cadence.saved(0.0)
        self.clock.saved(started)

    def write(self, path: Path) -> None:
        """Replace the file."""
        raise NotImplementedError


class TorchSave(InTheLoop):
    """`torch.save` of the state dictionaries."""

    def write(self, path: Path) -> None:
        state = {"model": self.network.state_dict(), "optimizer": self.step.optimizer.state_dict()}
        torch.save({**state, "best": self.best}, path)


class SafetensorsInTheLoop(InTheLoop):
    """`safetensors.torch.save_file` of the same tensors."""

    def write(self, path: Path) -> None:
        save_file(snapshot(self.network, self.step.optimizer, self.best, keep=True), path)


class Ours(Trainer):
    """As it is, and timed."""

    def __init__(self, job: TrainingJob, clock: Clock) -> None:
        super().__init__(job, join_ranks(), clock, Heartbeat())
        self.clock = clock

    def _checkpoint(self) -> None:
        started = time.perf_counter()
        super()._checkpoint()
        self.clock.saved(started)


def with_large_table(job: TrainingJob) -> TrainingJob:
    """Give the first categorical feature many categories, and embeddings their width."""
    config = job.model.preprocessor
    first = CategoricalFeature(name=config.categorical[0].name, vocabulary=tuple(range(CATEGORIES)))
    config = dataclasses.replace(config, categorical=(first, *config.categorical[1:]))
    model = ModelConfig(preprocessor=config, options={"embedding_dim": WIDTH})
    return dataclasses.replace(job, model=model)


@dataclasses.dataclass(frozen=True)
class Measured:
    """Of one training."""

    seconds: float
    """Of an epoch."""
    rest: float
    """The same, without what saves took."""
    saves: int
    """In those epochs."""
    size: int
    """Bytes of a checkpoint."""


def measure(way: type[Any], job: TrainingJob, folder: Path, seconds: float) -> Measured:
    """Train in folders of its own, with so many seconds between checkpoints."""
    settings = dataclasses.replace(
        job.training, checkpoint_seconds=seconds, checkpoint_epochs=1 if seconds < NEVER else 10**6
    )
    output, checkpoints = folder / "model", folder / "checkpoints"
    for made in (output, checkpoints):
        made.mkdir(parents=True)
    job = dataclasses.replace(
        job, output=str(output), checkpoints=str(checkpoints), training=settings
    )
    clock = Clock(output, job)
    trainer = way(job, clock)
    trainer.run()
    written = [*checkpoints.glob(f"*/{TENSORS}"), *checkpoints.glob("latest")]
    (start, *_), (end, saving, saves) = clock.noted[0], clock.noted[-1]
    epochs = len(clock.noted) - 1
    # Every one is of the same size as the last.
    saving += saves * trainer.checkpoints.processor_seconds
    return Measured(
        seconds=(end - start) / epochs,
        rest=(end - start - saving) / epochs,
        saves=saves,
        size=max(path.stat().st_size for path in written),
    )


def compare(title: str, batches: int, epochs: int, turns: int, folder: Path) -> Table:
    """Measure all ways on epochs of so many batches."""
    columns = make_columns(batches * BATCH)
    columns["categorical"] %= VOCABULARY + 5
    job = with_large_table(make_job(folder, columns, batch_size=BATCH, epochs=epochs))
    ways: dict[str, tuple[type[Any], float]] = {
        "without": (Ours, NEVER),
        "asynchronous, as it is": (Ours, EVERY_SECOND),
        "torch.save in the loop": (TorchSave, EVERY_SECOND),
        "safetensors in the loop": (SafetensorsInTheLoop, EVERY_SECOND),
    }
    found: dict[str, list[Measured]] = {name: [] for name in ways}
    size = measure(Ours, job, folder / "warm", NEVER).size
    for turn in range(turns):
        for at, (name, (way, seconds)) in enumerate(ways.items()):
            found[name].append(measure(way, job, folder / f"turn-{turn}-{at}", seconds))
    table = Table(
        f"{title}: epochs of {batches} batches of {BATCH:,}, checkpoints of {size / 1e6:.0f} MB, "
        f"torch on {torch.get_num_threads()} threads"
    )
    bare = found["without"]
    for name, mine in found.items():
        aim = 1.05 if name.startswith("asynchronous") else None
        table.row(
            name,
            median(one.seconds for one in mine),
            ratio=median(a.seconds / b.seconds for a, b in zip(mine, bare)),
            aim=aim,
            at_most=True,
            note=f"{median(one.saves for one in mine):g} saves in {epochs - 1} epochs",
        )
        if name != "without":
            share = median(one.seconds / one.rest for one in mine)
            table.row("  by what its saves took", None, ratio=share, aim=aim, at_most=True)
    return table


def main(arguments: list[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    parser.add_argument("--long", type=int, default=200, help="batches of a long epoch")
    parser.add_argument("--short", type=int, default=2, help="batches of a short one")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    for title, batches, epochs in (
        ("Every second in mid-epoch", options.long, 3),
        ("Short epochs", options.short, 60),
    ):
        with tempfile.TemporaryDirectory() as folder:
            table = compare(title, batches, epochs, options.turns, Path(folder))
        table.print(packages=["torch", "safetensors"])


if __name__ == "__main__":
    main()
