"""What a GPU does in an epoch against what it can do. Counting and measuring work on any device."""

import copy
import time

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from pipeline_assets.training.config import ModelConfig, Precision
from pipeline_assets.training.parallelize import Ranks

_COUNTED_ROWS = 64
_CEILING_SIZE = 8192
_CEILING_PRODUCTS = 10


class GpuReport:
    """Counts once what a row costs and measures once what the leading rank's GPU can do.

    Args:
        model: numbers of features.
        network: before it is parallelised; stays as it is.
        precision: of the training.
        ranks: on GPUs, one each.
    """

    def __init__(
        self, model: ModelConfig, network: nn.Module, precision: Precision, ranks: Ranks
    ) -> None:
        self._ranks = ranks
        self._flops = flops_per_row(model, network, ranks.device)
        dtype = {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(precision, torch.float32)
        self._ceiling = matmul_ceiling(ranks.device, dtype, size=_CEILING_SIZE)
        torch.cuda.reset_peak_memory_stats(ranks.device)

    def line(self, rows_per_second: float) -> str:
        """A sentence for the log, right after the batches of an epoch.

        Args:
            rows_per_second: over all ranks, validation apart.
        """
        achieved = self._flops * rows_per_second / self._ranks.world_size
        peak = torch.cuda.max_memory_allocated(self._ranks.device)
        torch.cuda.reset_peak_memory_stats(self._ranks.device)
        return (
            f"{torch.cuda.get_device_name(self._ranks.device)}: {rows_per_second:,.0f} samples/s, "
            f"{achieved / 1e12:.2f} TFLOP/s per GPU ({achieved / self._ceiling:.1%} of the "
            f"{self._ceiling / 1e12:.1f} of a large product), peak memory {peak / 2**30:.2f} GiB, "
            f"utilisation {_utilisation(self._ranks.device)}"
        )


def flops_per_row(model: ModelConfig, network: nn.Module, device: torch.device) -> float:
    """Floating-point operations of products in a forward and backward pass, for one row.

    Element-wise operations and the optimiser are not in it.
    """
    counted = copy.deepcopy(network).train()
    preprocessor = model.preprocessor
    numeric = torch.zeros(_COUNTED_ROWS, len(preprocessor.numeric), device=device)
    categorical = torch.zeros(
        _COUNTED_ROWS, len(preprocessor.categorical), dtype=torch.int64, device=device
    )
    with FlopCounterMode(display=False) as counter:
        counted(numeric, categorical).sum().backward()
    return counter.get_total_flops() / _COUNTED_ROWS


def matmul_ceiling(device: torch.device, dtype: torch.dtype, *, size: int) -> float:
    """Return the FLOP/s of the fastest of several products of two `size` x `size` matrices."""
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    fastest = float("inf")
    for _ in range(_CEILING_PRODUCTS):
        _wait(device)
        started = time.perf_counter()
        torch.matmul(left, right)
        _wait(device)
        fastest = min(fastest, time.perf_counter() - started)
    return 2 * size**3 / fastest


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _utilisation(device: torch.device) -> str:
    """Share of the last second or so in which a kernel ran, as the driver samples it."""
    try:
        return f"{torch.cuda.utilization(device)} %"
    except ModuleNotFoundError:
        return "unknown (needs nvidia-ml-py)"
    except Exception as error:  # noqa: BLE001 (the driver's errors share no base, and a report must not end a training)
        return f"unknown ({error})"
