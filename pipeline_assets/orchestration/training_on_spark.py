"""Training in the executors of a Spark cluster, for those who have no other."""

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline_assets.engine.torch_distributor import run_on_executors
from pipeline_assets.training.config import TrainingError, TrainingInterrupted, TrainingJob
from pipeline_assets.training.progress import HISTORY_FILE
from pipeline_assets.training.reason import Reason

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyspark.sql import SparkSession


def launch_on_spark(
    session: "SparkSession", job: TrainingJob, path: Path, say: "Callable[[str], object]"
) -> None:
    """Train until the model is there, at most `max_restarts` times again from the last checkpoint.

    `TorchDistributor` restarts nothing itself.

    Args:
        session: of Apache Spark.
        job: its folders and `path` must be seen by all executors at the same place.
        path: file that holds the job.
        say: takes a sentence about each restart.

    Raises:
        TrainingError: a rank said why it failed, or none of the attempts ended with a model.
        TrainingInterrupted: the last attempt failed for a reason that may pass.
        EngineError: the engine is not Apache Spark.
    """
    launch, output = job.launch, Path(job.output)
    if launch.processes == "auto":
        raise TrainingError("training on executors needs a number of `training.processes`")
    finished = output / HISTORY_FILE
    finished.unlink(missing_ok=True)
    reason = None
    for attempt in range(launch.max_restarts + 1):
        Reason.at_start(output).forget_earlier()
        if attempt:
            say(f"the processes ended without a model; restart {attempt} of {launch.max_restarts}")
        run_on_executors(
            session,
            "pipeline_assets.training.worker",
            [str(path)],
            processes=launch.processes,
            gpus=launch.executor_gpus,
        )
        if finished.exists():
            return
        reason = Reason(output).read()
        if reason is not None and not isinstance(reason, TrainingInterrupted):
            raise reason
    raise reason or TrainingError(
        f"the training processes on the executors ended without a model, {launch.max_restarts + 1} "
        "time(s); their last words are in the output of this run and in the executors' logs"
    )
