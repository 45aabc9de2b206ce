"""What ranks tell each other in the training. All ranks come to each of these together."""

import math

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from pipeline_assets.training.parallelize import Ranks


def sum_over_ranks(values: Tensor, ranks: Ranks) -> Tensor:
    """Return the element-wise sum, the same on every rank. int64 wraps around."""
    total = values.to(ranks.device, copy=True)
    if ranks.world_size > 1:
        dist.all_reduce(total)
    return total


def gather_rows(values: Tensor, ranks: Ranks) -> Tensor:
    """Concatenate [n_rank, ...] over ranks, in rank order, on every rank. Lengths may differ.

    Tensors only: gathering objects would go through pickle.
    """
    if ranks.world_size == 1:
        return values
    lengths = torch.zeros(ranks.world_size, dtype=torch.int64, device=ranks.device)
    lengths[ranks.rank] = len(values)
    dist.all_reduce(lengths)
    longest = int(lengths.max())
    padded = torch.zeros(longest, *values.shape[1:], dtype=values.dtype, device=ranks.device)
    padded[: len(values)] = values
    parts = [torch.empty_like(padded) for _ in range(ranks.world_size)]
    dist.all_gather(parts, padded)
    return torch.cat([part[: int(n)] for part, n in zip(parts, lengths)])


def gather_on_leader(
    values: np.ndarray, ranks: Ranks, *, piece_bytes: int = 4 << 20
) -> np.ndarray | None:
    """Concatenate [n_rank, ...] over ranks, in rank order, in the leading rank's memory; None on the others.

    Lengths may differ. What is sent at a time, `piece_bytes` a rank, is small, so that a GPU never holds them
    all.
    """
    if ranks.world_size == 1:
        return values
    lengths = torch.zeros(ranks.world_size, dtype=torch.int64)
    lengths[ranks.rank] = len(values)
    counts = sum_over_ranks(lengths, ranks).tolist()
    row_bytes = values.itemsize * max(1, math.prod(values.shape[1:]))
    piece = max(1, piece_bytes // row_bytes)
    result = np.empty((sum(counts), *values.shape[1:]), values.dtype) if ranks.leads else None
    for start in range(0, max(counts), piece):
        own = torch.from_numpy(values[start : start + piece])
        sent = torch.zeros(piece, *values.shape[1:], dtype=own.dtype, device=ranks.device)
        sent[: len(own)] = own.to(ranks.device)
        parts = [torch.empty_like(sent) for _ in counts] if ranks.leads else None
        dist.gather(sent, parts, dst=0)
        for rank, part in enumerate(parts or ()):
            rows = part[: max(0, counts[rank] - start)].cpu().numpy()
            at = sum(counts[:rank]) + start
            if result is not None and len(rows):
                result[at : at + len(rows)] = rows
    return result


def most_of_ranks(count: int, ranks: Ranks) -> int:
    """Return the largest of the ranks' counts, on every rank."""
    counts = torch.zeros(ranks.world_size, dtype=torch.int64)
    counts[ranks.rank] = count
    return int(sum_over_ranks(counts, ranks).max())


def wait_for_all(ranks: Ranks) -> None:
    """Return when every rank has come here."""
    sum_over_ranks(torch.zeros(1), ranks).item()
