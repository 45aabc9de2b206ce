"""Processes of torch.distributed in the executors of a Spark cluster, by PySpark's `TorchDistributor`.

What runs there is a module by name, so nothing is pickled. Whether it succeeded is for the caller to find
out: the wrapper that PySpark 4.2 puts around `torch.distributed.run` ends with status 0 in any case.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline_assets.engine.errors import EngineError
from pipeline_assets.engine.session import engine_name

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def run_on_executors(
    session: "SparkSession", module: str, arguments: Sequence[str], *, processes: int, gpus: bool
) -> None:
    """Run `python -m module arguments` as all ranks of one process group; return when they have ended.

    Each rank is a task of a barrier stage, so all of them need a free slot at once. The lines that they
    write appear on standard output here.

    Args:
        session: of Apache Spark, through Spark Connect.
        module: installed on the executors.
        arguments: the same for all ranks.
        processes: number of ranks.
        gpus: give each rank the GPUs of its task.

    Raises:
        EngineError: the engine has no barrier stages.
    """
    from pyspark.ml.torch.distributor import TorchDistributor

    if engine_name(session) != "spark":
        raise EngineError(
            "training on executors needs Apache Spark (barrier stages), and the engine is Sail: set "
            "`engine.kind: remote` or `spark` in the environment, or `training.launcher: local`"
        )
    distributor = TorchDistributor(num_processes=processes, local_mode=False, use_gpu=gpus)
    # It takes the session that was made last in this process, perhaps one of another engine.
    distributor.spark = session
    try:
        # Where it expects a script, torch.distributed.run takes an option as well.
        distributor.run("--module", module, *arguments)
    except BaseException:
        # An interrupted client leaves its tasks to the server.
        session.interruptAll()
        raise
