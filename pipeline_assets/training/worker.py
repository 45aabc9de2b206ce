"""One rank: `python -m pipeline_assets.training.worker job.json`, started by torch.distributed.run."""

import os
import sys
from datetime import timedelta
from pathlib import Path

from pipeline_assets.training.config import TrainingError, TrainingInterrupted, TrainingJob
from pipeline_assets.training.files import write_atomically
from pipeline_assets.training.heartbeat import FOLDER, Heartbeat
from pipeline_assets.training.processes import die_with_parent

ERROR_FILE = "error.txt"
"""In the output: why a rank has failed, where running again would give the same."""
INTERRUPTION_FILE = "interruption.txt"
"""In the output: why a rank has failed, where running again may help."""
AGENT_PID = "PIPELINE_AGENT_PID"
_LATER_SECONDS = 60.0


def main(job_path: str) -> int:
    """Train as the job says; return the exit status. Every foreseen failure is one sentence."""
    # First of all: an orphan would keep its GPU.
    if AGENT_PID in os.environ:
        die_with_parent(parent=int(os.environ[AGENT_PID]))
    elif "TORCHELASTIC_RUN_ID" in os.environ:
        die_with_parent()
    # Deterministic algorithms on a GPU need it before the first use.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    job = TrainingJob.load(job_path)
    said = Path(job.output) / ERROR_FILE
    if int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) and said.exists():
        # A restart heals what has killed a rank, not what a rank has given as its reason.
        return 1
    heartbeat = Heartbeat(os.environ.get(FOLDER), int(os.environ.get("RANK", "0")))
    from pipeline_assets.shards.errors import ShardError, ShardUnreachable

    try:
        train(job, heartbeat)
    except ShardUnreachable as error:
        said.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(said.with_name(INTERRUPTION_FILE), str(error).encode())
        sys.stderr.write(f"training rank {os.environ.get('RANK', '0')} ended: {error}\n")
        return 1
    except (TrainingError, ShardError) as error:
        leave_message(said, str(error))
        return 1
    except RuntimeError as error:
        # Another rank has died, before or after all had met; why it did is that rank's to say.
        from torch.distributed import DistError

        if not isinstance(error, DistError) and "gloo" not in str(error).lower():
            raise
        sys.stderr.write(f"training rank {os.environ['RANK']} lost contact with another rank\n")
        return 1
    return 0


def train(job: TrainingJob, heartbeat: Heartbeat | None = None) -> None:
    """Train on this rank, in the process group that the environment describes, or alone.

    Args:
        job: what to train.
        heartbeat: notes where this rank is; none where nobody watches.
    """
    import torch

    from pipeline_assets.training.determinism import set_deterministic
    from pipeline_assets.training.parallelize import join_ranks
    from pipeline_assets.training.progress import Progress
    from pipeline_assets.training.trainer import Trainer

    if "OMP_NUM_THREADS" in os.environ:
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    set_deterministic(job.training.deterministic)
    Path(job.output).mkdir(parents=True, exist_ok=True)
    # The launcher's watchdog has more to say about a rank that hangs than the ranks that wait for it.
    heartbeat = heartbeat or Heartbeat()
    ranks = join_ranks(timedelta(seconds=job.launch.timeout_seconds + _LATER_SECONDS))
    heartbeat.starting()
    with Progress(
        Path(job.output),
        max_epochs=job.training.max_epochs,
        monitor=job.training.monitor,
        active=ranks.leads,
    ) as progress:
        trainer = Trainer(job, ranks, progress, heartbeat)
        parameters = sum(p.numel() for p in trainer.network.parameters())
        progress.say(
            f"training on {trainer.train.rows:,} rows, {parameters:,} parameters, "
            f"{ranks.world_size} x {ranks.device.type}, {torch.get_num_threads()} threads each"
        )
        trainer.run()


def forget_messages(output: Path) -> None:
    """Remove what the ranks of an earlier run have said of their end."""
    for name in (ERROR_FILE, INTERRUPTION_FILE):
        (output / name).unlink(missing_ok=True)


def reason_of_end(output: Path) -> TrainingError | None:
    """What a rank gave as the reason of its failure; None where none did.

    Args:
        output: the job's folder for the model.
    """
    for name, kind in ((ERROR_FILE, TrainingError), (INTERRUPTION_FILE, TrainingInterrupted)):
        if (output / name).exists():
            return kind((output / name).read_text(encoding="utf-8"))
    return None


def leave_message(path: Path, text: str) -> None:
    """Ranks fail together, for the same reason: the first to say so is enough."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        return


def _run(job_path: str) -> None:
    """Train, then leave without tearing down.

    The destructor of a gloo process group joins a thread that may be waiting for the interpreter's
    lock, which the destructor holds (seen with torch 2.13: ranks that were done never ended). All
    files are written and every rank has passed the last barrier, so nothing is left to tear down.
    """
    status = 1
    try:
        status = main(job_path)
    finally:
        error = sys.exception()
        if error is not None:
            sys.excepthook(type(error), error, error.__traceback__)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    _run(sys.argv[1])
