"""The elastic agent: torch.distributed.run with the job's settings, started by `launch`."""

import logging
import math
import os
import signal
import sys
from pathlib import Path

from pipeline_assets.training.processes import available_cores, die_with_parent
from pipeline_assets.training.worker import AGENT_PID, ERROR_FILE, leave_message

LAUNCHER_PID = "PIPELINE_LAUNCHER_PID"


def main(job_path: str) -> int:
    """Run all ranks of this node; return the exit status."""
    if LAUNCHER_PID in os.environ:
        die_with_parent(signal.SIGKILL, parent=int(os.environ[LAUNCHER_PID]))
    from pipeline_assets.training.config import TrainingJob

    job = TrainingJob.load(job_path)
    config = job.launch
    # This process runs nothing but torch's agent, and what failed is said below, in one line.
    logging.disable(logging.ERROR)
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    # A store of its own for every attempt. Torch 2.13 otherwise shares one over restarts, without a
    # prefix, and restarted gloo ranks find the addresses of dead ones in it (connection refused).
    os.environ.setdefault("TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "1")
    import torch
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.elastic.rendezvous import RendezvousError

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
        arguments += ["--local-addr=127.0.0.1"]
    if endpoint is None:
        arguments += ["--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0"]
    else:
        arguments += [f"--rdzv-backend={config.rdzv_backend}", f"--rdzv-endpoint={endpoint}"]
        arguments += ["--rdzv-id=pipeline_assets"]
        arguments += [f"--rdzv-conf=join_timeout={math.ceil(config.timeout_seconds)}"]
    try:
        run.main([*arguments, "--module", "pipeline_assets.training.worker", job_path])
    except ChildFailedError as error:
        for rank, failure in sorted(error.failures.items()):
            code = failure.exitcode
            how = f"was killed by signal {-code}" if code < 0 else f"ended with status {code}"
            sys.stderr.write(f"training rank {rank} {how}\n")
        return 1
    except RendezvousError as error:
        leave_message(
            Path(job.output) / ERROR_FILE,
            f"{config.nnodes} nodes did not meet at {endpoint} within {config.timeout_seconds:g} seconds "
            f"({error}). Start the launcher with the same job on all of them; the endpoint is a port of "
            "one that the others reach",
        )
        return 1
    except SignalException as error:
        return 128 + int(error.sigval)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
