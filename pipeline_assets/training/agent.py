"""The elastic agent: torch.distributed.run with the job's settings, started by `launch`."""

import logging
import math
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline_assets.training.ends import how_ranks_ended, may_be_memory, where_it_goes_on
from pipeline_assets.training.heartbeat import FOLDER
from pipeline_assets.training.processes import (
    STORE_FOLDER,
    available_cores,
    die_with_parent,
)
from pipeline_assets.training.reason import Reason
from pipeline_assets.training.worker import AGENT_PID, ENDED

if TYPE_CHECKING:
    from torch.distributed.elastic.agent.server.api import RunResult, WorkerGroup
    from torch.distributed.elastic.agent.server.local_elastic_agent import LocalElasticAgent
    from torch.distributed.elastic.rendezvous import RendezvousError

    from pipeline_assets.training.config import LaunchConfig

LAUNCHER_PID = "PIPELINE_LAUNCHER_PID"


def main(job_path: str) -> int:
    """Run all ranks of this node; return the exit status."""
    if LAUNCHER_PID in os.environ:
        die_with_parent(signal.SIGKILL, parent=int(os.environ[LAUNCHER_PID]))
    from pipeline_assets.training.config import TrainingJob

    job = TrainingJob.load(job_path)
    config = job.launch
    shared = Path(os.environ[FOLDER])
    # This process runs nothing but torch's agent, and what failed is said below, in one line.
    logging.disable(logging.ERROR)
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    # A store of its own for every attempt. Torch 2.13 otherwise shares one over restarts, without a
    # prefix, and restarted gloo ranks find the addresses of dead ones in it (connection refused). Its
    # server listens on all interfaces as well.
    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    import torch
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.elastic.rendezvous import RendezvousError
    from torch.distributed.launcher import api

    gpus = torch.cuda.device_count()
    processes = config.processes if config.processes != "auto" else gpus or 2
    os.environ[AGENT_PID] = str(os.getpid())
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, available_cores() // processes)))
    arguments = [
        f"--nproc-per-node={processes}",
        f"--nnodes={config.nnodes}",
        f"--max-restarts={config.max_restarts}",
    ]
    endpoint = config.rdzv_endpoint
    if endpoint is None or endpoint.rpartition(":")[0] in ("127.0.0.1", "localhost"):
        # All on this machine: no name of it needs to resolve.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        os.environ.setdefault("NCCL_SOCKET_IFNAME", "=lo")
        arguments += ["--local-addr=127.0.0.1"]
    if endpoint is None:
        # In files that only this user can read: torch's TCP stores listen on all interfaces, and the
        # agent unpickles what it finds in them. The file grows with each sign of life, which one node
        # does not need.
        arguments += ["--rdzv-backend=c10d", f"--rdzv-endpoint={shared / 'rendezvous'}"]
        arguments += ["--rdzv-conf=store_type=file,keep_alive_interval=86400"]
        os.environ[STORE_FOLDER] = str(shared)
    else:
        arguments += [f"--rdzv-backend={config.rdzv_backend}", f"--rdzv-endpoint={endpoint}"]
        # Another training at this endpoint is another rendezvous.
        arguments += [f"--rdzv-id={job.digest()}"]
        arguments += [f"--rdzv-conf=join_timeout={math.ceil(config.timeout_seconds)}"]
    arguments += [f"--log-dir={shared / 'logs'}"]
    # There is no other place for an agent of one's own.
    api.LocalElasticAgent = _agent_that_notes(shared)  # pyright: ignore[reportPrivateImportUsage]
    try:
        run.main([*arguments, "--module", "pipeline_assets.training.worker", job_path])
    except ChildFailedError as error:
        statuses = {rank: failure.exitcode for rank, failure in error.failures.items()}
        ended = how_ranks_ended(statuses)
        sys.stderr.write(f"training {ended}\n")
        Reason(Path(job.output)).leave_death(
            f"training {ended}{may_be_memory(min(statuses.values()))}. "
            + where_it_goes_on(job.checkpoints)
        )
        return 1
    except RendezvousError as error:
        had_met = next(shared.glob("rank-*"), None) is not None
        Reason(Path(job.output)).leave(_without_rendezvous(config, error, had_met))
        return 1
    except SignalException as error:
        return 128 + int(error.sigval)
    return 0


def _agent_that_notes(folder: Path) -> "type[LocalElasticAgent]":
    """Torch's agent, which leaves in a folder what restarted ranks say of those before them."""
    from torch.distributed.elastic.agent.server.local_elastic_agent import LocalElasticAgent

    class Agent(LocalElasticAgent):
        # Its decorator hides its type.
        def _monitor_workers(  # pyright: ignore[reportIncompatibleVariableOverride]
            self, worker_group: "WorkerGroup"
        ) -> "RunResult":
            result = super()._monitor_workers(worker_group)  # pyright: ignore[reportCallIssue]
            if result.is_failed():
                statuses = {rank: failure.exitcode for rank, failure in result.failures.items()}
                attempt = worker_group.spec.max_restarts - self._remaining_restarts
                (folder / f"{ENDED}{attempt}").write_text(how_ranks_ended(statuses))
            return result

    return Agent


def _without_rendezvous(config: "LaunchConfig", error: "RendezvousError", had_met: bool) -> str:
    from torch.distributed.elastic.rendezvous.api import RendezvousTimeoutError

    nodes, endpoint = config.nnodes, config.rdzv_endpoint
    reason = f" ({error})" if str(error) else ""
    within = f"at {endpoint} within {config.timeout_seconds:g} seconds{reason}"
    if not had_met:
        return (
            f"{nodes} nodes did not meet {within}. Start the launcher with the same job on all of them; "
            "the endpoint is a port of one that the others reach"
        )
    again = "Start the launcher on all nodes again: training goes on from the last checkpoint"
    if isinstance(error, RendezvousTimeoutError):
        return (
            f"after a rank or a node had failed, {nodes} nodes did not meet again {within}. {again}"
        )
    return (
        f"the rendezvous at {endpoint} was lost during the training{reason}: another node has ended it, "
        f"and may say why, or the node of the endpoint is gone or cannot be reached. {again}"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
