"""One rank: `python -m pipeline_assets.training.worker job.json`, started by torch.distributed.run."""

import os
import shutil
import sys
import traceback
from datetime import timedelta
from pathlib import Path

from pipeline_assets.training.config import TrainingError, TrainingJob
from pipeline_assets.training.ends import what_was_raised, where_it_goes_on, where_it_was_raised
from pipeline_assets.training.heartbeat import FOLDER, STACKS, Heartbeat
from pipeline_assets.training.processes import die_with_parent
from pipeline_assets.training.reason import Reason

AGENT_PID = "PIPELINE_AGENT_PID"
ENDED = "ended-"
"""Name of a file beside the heartbeats, followed by an attempt (from 0): how its ranks ended."""
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
    reason = Reason(Path(job.output))
    if not is_first_attempt() and reason.is_final():
        # A restart heals what has killed a rank, not what a rank has given as its reason.
        return 1
    heartbeat = Heartbeat(os.environ.get(FOLDER), int(os.environ.get("RANK", "0")))
    from pipeline_assets.shards.errors import ShardError, ShardUnreachable

    try:
        train(job, heartbeat)
    except ShardUnreachable as error:
        reason.leave_interruption(str(error))
        sys.stderr.write(f"training rank {os.environ.get('RANK', '0')} ended: {error}\n")
        return 1
    except (TrainingError, ShardError) as error:
        # Of the user's own code, which the sentence can not name the line of.
        lines = [where_it_was_raised(error.__cause__)] if type(error.__cause__) is TypeError else []
        reason.leave("\n".join([str(error), *lines]))
        return 1
    except RuntimeError as error:
        # Another rank has died, before or after all had met; why it did is that rank's to say.
        from torch.distributed import DistError

        if not isinstance(error, DistError) and "gloo" not in str(error).lower():
            return _unforeseen(job, reason, error)
        # With what the backend says: it may be the backend itself that does not work here.
        sys.stderr.write(
            f"training rank {os.environ['RANK']} lost contact with another rank: {error}\n"
        )
        return 1
    except Exception as error:  # noqa: BLE001 - the processes that wait for this one shall know why
        return _unforeseen(job, reason, error)
    return 0


def _unforeseen(job: TrainingJob, reason: Reason, error: Exception) -> int:
    """Say what was raised. A fault of a device may pass; all else, as in a factory, would come again."""
    import torch

    traceback.print_exception(error)
    text = (
        f"training rank {os.environ.get('RANK', '0')} failed with {what_was_raised(error)}\n"
        f"{where_it_goes_on(job.checkpoints)}"
    )
    if isinstance(error, torch.AcceleratorError):
        reason.leave_interruption(text)
    else:
        reason.leave(text)
    return 1


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
    patience = timedelta(seconds=job.launch.timeout_seconds + _LATER_SECONDS)
    ranks = join_ranks(patience, job=job.digest())
    heartbeat.starting()
    if ranks.leads and is_first_attempt():
        # Of an earlier training; the launchers of several nodes share the folder and begin at any time.
        shutil.rmtree(Path(job.output) / STACKS, ignore_errors=True)
    with Progress(
        Path(job.output),
        max_epochs=job.training.max_epochs,
        monitor=job.training.monitor,
        writes=ranks.leads,
        says=ranks.reports,
    ) as progress:
        if not is_first_attempt():
            progress.warn(_restarted(job))
        trainer = Trainer(job, ranks, progress, heartbeat)
        parameters = sum(p.numel() for p in trainer.network.parameters())
        progress.say(
            f"training on {trainer.train.rows:,} rows, {parameters:,} parameters, "
            f"{ranks.world_size} x {ranks.device.type}, {torch.get_num_threads()} threads each"
        )
        trainer.run()


def is_first_attempt() -> bool:
    """Whether the ranks of this node were not restarted."""
    return _restarts() == 0


def _restarts() -> int:
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


def _restarted(job: TrainingJob) -> str:
    folder, why = os.environ.get(FOLDER), "a rank ended"
    if folder is not None:
        ended = Path(folder) / f"{ENDED}{_restarts() - 1}"
        why = ended.read_text("utf-8") if ended.exists() else "a rank of another node ended"
    return f"restarted (attempt {_restarts() + 1} of {job.launch.max_restarts + 1}) after {why}"


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
