"""Ranks, devices, replication and sharding. Models know nothing of this; the loop asks here."""

import logging
import os
import shutil
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from pipeline_assets.training.config import TrainingConfig, TrainingError
from pipeline_assets.training.meeting import meet

COLLECTIVE_TIMEOUT = timedelta(minutes=10)
SHARDED_ALONE = 2**20
"""Parameters from which a layer is gathered when it is used, and freed after; smaller ones go together."""


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """This process among all."""

    rank: int
    world_size: int
    device: torch.device
    reporter: int = 0
    """Rank that says how it goes."""

    @property
    def leads(self) -> bool:
        """True on the one rank that writes files."""
        return self.rank == 0

    @property
    def reports(self) -> bool:
        """True on the one rank that says how it goes."""
        return self.rank == self.reporter


def join_ranks(timeout: timedelta = COLLECTIVE_TIMEOUT, *, job: str = "") -> Ranks:
    """Join the process group that the environment describes, as torch.distributed.run does; or be alone.

    NCCL where every rank has a GPU of its own, gloo on CPUs otherwise. The group lives as long as the
    process; see `worker` for why nobody destroys it.

    Args:
        timeout: for the other ranks to come, and for each collective.
        job: digest of what this rank was given to train.

    Raises:
        TrainingError: the ranks do not go together: other jobs, GPUs on some of them only, or fewer GPUs
            than ranks on a node. All ranks raise it.
        DistError: a rank has not come.
    """
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    rank, store, reporter = 0, None, 0
    if world_size > 1:
        rank = int(os.environ["RANK"])
        store, reporter = meet(rank, world_size, timeout, job)
    device = torch.device("cpu")
    if torch.cuda.device_count():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    if store is not None:
        dist.init_process_group(
            "nccl" if device.type == "cuda" else "gloo",
            store=store,
            rank=rank,
            world_size=world_size,
            timeout=timeout,
        )
    return Ranks(rank=rank, world_size=world_size, device=device, reporter=reporter)


class ParallelNetwork:
    """A network over ranks: replicated (`ddp`) or sharded (`fsdp`), compiled where that is asked for.

    Replicas take the mean of their gradients over ranks. Buffers are never exchanged: they are constants
    (`check_network` refuses batch norm, where they are not). Sharded, the network's parameters become
    DTensors in place: build the optimiser afterwards, read them by `whole` and set them by `placed_like`.
    One rank holds its network as it is.

    Raises:
        TrainingError: compiling was asked for and there is no compiler.
    """

    def __init__(self, network: nn.Module, ranks: Ranks, config: TrainingConfig) -> None:
        self.is_sharded = is_sharded(config, ranks)
        self._module = network
        if self.is_sharded:
            _shard(network, ranks)
        elif ranks.world_size > 1:
            self._module = nn.parallel.DistributedDataParallel(
                network,
                device_ids=[ranks.device] if ranks.device.type == "cuda" else None,
                forward_sync_buffers=False,
                static_graph=config.ddp_static_graph,
                bucket_cap_mb=config.ddp_bucket_cap_mb,
                gradient_as_bucket_view=config.ddp_gradient_as_bucket_view,
            )
        self._compiled: Callable[[Tensor, Tensor], Tensor] = self._module
        if config.compile:
            _check_compiler(ranks.device)
            # It says that a label of DDP's for profilers is lost.
            logging.getLogger("torch._dynamo.variables.ctx_manager").setLevel(logging.ERROR)
            self._compiled = torch.compile(self._module, dynamic=False)

    def forward(self, numeric: Tensor, categorical: Tensor, *, full: bool) -> Tensor:
        """Return the outputs of a micro-batch.

        Args:
            numeric: f32 [n, F].
            categorical: i64 [n, C].
            full: of a global batch of the usual size. The last one of an epoch is smaller and never runs
                compiled: what is compiled has fixed shapes.
        """
        return (self._compiled if full else self._module)(numeric, categorical)

    def train(self, mode: bool = True) -> None:
        """Set training or evaluation mode."""
        self._module.train(mode)

    def synchronised(self, last: bool) -> AbstractContextManager[None]:
        """Context of forward and backward pass: gradients are exchanged by the last micro-batch only."""
        if self.is_sharded:
            cast(Any, self._module).set_requires_gradient_sync(last)
        elif not last and isinstance(self._module, nn.parallel.DistributedDataParallel):
            return self._module.no_sync()
        return nullcontext()


def is_sharded(config: TrainingConfig, ranks: Ranks) -> bool:
    """Whether each rank holds a part of the network only."""
    return ranks.world_size > 1 and config.parallelism == "fsdp"


def on_device(network: nn.Module, ranks: Ranks, config: TrainingConfig) -> nn.Module:
    """Move a new network to this rank's device; one that is to be sharded goes there part by part, later."""
    return network if is_sharded(config, ranks) else network.to(ranks.device)


def check_parallelism(config: TrainingConfig) -> None:
    """Raise `TrainingError` for settings that do not go together."""
    if config.gradient_accumulation > config.batch_size:
        raise TrainingError(
            f"training.gradient_accumulation {config.gradient_accumulation} is above training.batch_size "
            f"{config.batch_size}: some micro-batches would have no row"
        )
    if config.ddp_static_graph and config.gradient_accumulation > 1:
        raise TrainingError(
            "training.ddp_static_graph and gradient_accumulation above 1 do not go together: a static "
            "graph exchanges gradients in its first backward pass, accumulation only in the last of a batch"
        )


def clip_gradients(network: nn.Module, limit: float) -> Tensor:
    """Scale the gradients down to a global norm of `limit`; return the norm before, on every rank."""
    return whole(nn.utils.clip_grad_norm_(network.parameters(), limit))


def whole(tensor: Tensor) -> Tensor:
    """Return a sharded tensor in one piece, others as they are. A collective where it is sharded."""
    gather = getattr(tensor, "full_tensor", None)
    return tensor if gather is None else gather()


def placed_like(value: Tensor, parameter: Tensor) -> Tensor:
    """Return a whole tensor as the parameter lies: on its device, and this rank's part if it is sharded.

    A value of another shape, as an optimiser's counter of steps, is only moved.
    """
    if not hasattr(parameter, "full_tensor") or value.shape != parameter.shape:
        return value.to(parameter.device)
    from torch.distributed.tensor import DTensor

    assert isinstance(parameter, DTensor)
    # All ranks have read the same value, so nothing needs to be sent. Each cuts its part, as `fully_shard`
    # does, where the value lies: a device need not have room for the whole.
    mesh = parameter.device_mesh
    most = -(-len(value) // mesh.size())
    first = min(most * mesh.get_local_rank(), len(value))
    part = value[first : first + most].to(parameter.device, copy=True)
    return DTensor.from_local(
        part,
        mesh,
        parameter.placements,
        run_check=False,
        shape=value.shape,
        stride=value.stride(),
    )


def _shard(network: nn.Module, ranks: Ranks) -> None:
    """Shard all parameters over ranks; large layers of stacks are gathered one by one."""
    # Half a second to import, which replicas need not wait for.
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    # Nothing here changes outputs in place.
    warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view tensor")
    mesh = init_device_mesh(ranks.device.type, (ranks.world_size,))
    # Moves what it shards to the mesh's device: at no time is more than one layer's, or all small layers',
    # in one piece there.
    stacks = [m for m in network.modules() if isinstance(m, nn.Sequential | nn.ModuleList)]
    for stack in reversed(stacks):  # inner ones first
        for layer in stack:
            if sum(p.numel() for p in layer.parameters()) >= SHARDED_ALONE:
                fully_shard(layer, mesh=mesh)
    # No mixed precision here: autocast is the same for one rank, replicas and shards.
    fully_shard(network, mesh=mesh)


def _check_compiler(device: torch.device) -> None:
    compiler = os.environ.get("CXX", "g++")
    if device.type == "cpu" and shutil.which(compiler) is None:
        raise TrainingError(
            f"training.compile needs a C++ compiler on CPUs, and {compiler} is not on the PATH: install "
            "it, name another one by the variable CXX, or set compile to false"
        )
