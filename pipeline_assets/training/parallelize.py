"""Ranks, devices and collectives. Models know nothing of this; the loop asks here."""

import os
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn

COLLECTIVE_TIMEOUT = timedelta(minutes=10)


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """This process among all."""

    rank: int
    world_size: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """True on the one rank that writes and reports."""
        return self.rank == 0


def join_ranks(timeout: timedelta = COLLECTIVE_TIMEOUT) -> Ranks:
    """Join the process group that torch.distributed.run describes; alone where there is none.

    NCCL where every rank has a GPU of its own, gloo on CPUs otherwise. The group lives as long as the
    process; see `worker` for why nobody destroys it.
    """
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    on_gpu = torch.cuda.device_count() >= int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    device = torch.device("cuda", local_rank) if on_gpu else torch.device("cpu")
    if on_gpu:
        torch.cuda.set_device(device)
    if world_size == 1:
        return Ranks(rank=0, world_size=1, device=device)
    dist.init_process_group("nccl" if on_gpu else "gloo", timeout=timeout)
    return Ranks(rank=dist.get_rank(), world_size=world_size, device=device)


def parallelize(network: nn.Module, ranks: Ranks) -> nn.Module:
    """Replicate: gradients become their mean over ranks. Buffers are constants, never exchanged."""
    if ranks.world_size == 1:
        return network
    return nn.parallel.DistributedDataParallel(
        network,
        device_ids=[ranks.device] if ranks.device.type == "cuda" else None,
        forward_sync_buffers=False,
        gradient_as_bucket_view=True,
    )


def sum_over_ranks(values: Tensor, ranks: Ranks) -> Tensor:
    """Return the element-wise sum, the same on every rank. int64 wraps around."""
    total = values.to(ranks.device, copy=True)
    if ranks.world_size > 1:
        dist.all_reduce(total)
    return total


def gather_rows(values: Tensor, ranks: Ranks) -> Tensor:
    """Concatenate [n_rank] over ranks, in rank order, on every rank. Lengths may differ.

    Tensors only: gathering objects would go through pickle.
    """
    if ranks.world_size == 1:
        return values
    lengths = torch.zeros(ranks.world_size, dtype=torch.int64, device=ranks.device)
    lengths[ranks.rank] = len(values)
    dist.all_reduce(lengths)
    longest = int(lengths.max())
    padded = torch.zeros(longest, dtype=values.dtype, device=ranks.device)
    padded[: len(values)] = values
    parts = [torch.empty_like(padded) for _ in range(ranks.world_size)]
    dist.all_gather(parts, padded)
    return torch.cat([part[: int(n)] for part, n in zip(parts, lengths)])


def wait_for_all(ranks: Ranks) -> None:
    """Return when every rank has come here."""
    sum_over_ranks(torch.zeros(1), ranks).item()
