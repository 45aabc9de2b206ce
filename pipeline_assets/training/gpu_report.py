"""What a GPU does in an epoch against what it can do. Counting and measuring work on any device."""

import copy
import time
from collections.abc import Callable
from statistics import fmean
from threading import Event, Thread

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from pipeline_assets.training.config import ModelConfig, Precision, TrainingJob
from pipeline_assets.training.parallelize import Ranks

_COUNTED_ROWS = 64
_CEILING_SIZE = 8192
_CEILING_PRODUCTS = 10
_SAMPLE_SECONDS = 0.5


class GpuReport:
    """Counts once what a row costs, measures once what the leading rank's GPU can do, and then each epoch.

    Args:
        model: numbers of features.
        network: on any device, before it is parallelised; stays as it is.
        precision: of the training.
        ranks: on GPUs, one each.
    """

    def __init__(
        self, model: ModelConfig, network: nn.Module, precision: Precision, ranks: Ranks
    ) -> None:
        self._ranks = ranks
        self._flops = flops_per_row(model, network)
        dtype = {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(precision, torch.float32)
        self._ceiling = matmul_ceiling(ranks.device, dtype, size=_CEILING_SIZE)
        self._utilisation = MeanOfSamples(lambda: torch.cuda.utilization(ranks.device))

    def start_epoch(self) -> None:
        """The batches of an epoch begin."""
        torch.cuda.reset_peak_memory_stats(self._ranks.device)
        self._utilisation.start()

    def line(self, rows_per_second: float) -> str:
        """A sentence for the log, right after the batches of an epoch.

        Args:
            rows_per_second: over all ranks, validation apart.
        """
        peak = torch.cuda.max_memory_allocated(self._ranks.device)
        return (
            f"{torch.cuda.get_device_name(self._ranks.device)}: {rows_per_second:,.0f} samples/s, "
            f"{self._rate(rows_per_second)}, peak memory {peak / 2**30:.2f} GiB, "
            f"utilisation {self._utilisation.stop()}"
        )

    def _rate(self, rows_per_second: float) -> str:
        if self._flops is None:
            return "FLOP/s unknown (the network computes with values of its tensors in Python)"
        achieved = self._flops * rows_per_second / self._ranks.world_size
        return (
            f"{achieved / 1e12:.2f} TFLOP/s per GPU ({achieved / self._ceiling:.1%} of the "
            f"{self._ceiling / 1e12:.1f} of a large product)"
        )


class MeanOfSamples:
    """Percentages that a thread asks for while an epoch runs: the driver knows the last second at most.

    Args:
        sample: answers with one.
        seconds: between two.
    """

    def __init__(self, sample: Callable[[], float], *, seconds: float = _SAMPLE_SECONDS) -> None:
        self._sample = sample
        self._seconds = seconds
        self._samples: list[float] = []
        self._unknown: str | None = None
        self._ended = Event()
        self._thread: Thread | None = None

    def start(self) -> None:
        """Begin; what was sampled before, by an epoch that was broken off, is forgotten."""
        self.stop()
        self._samples, self._unknown = [], None
        self._ended.clear()
        self._thread = Thread(target=self._run, name="utilisation", daemon=True)
        self._thread.start()

    def stop(self) -> str:
        """End, and return the mean, or why there is none."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._unknown is not None:
            return f"unknown ({self._unknown})"
        return "unknown (too short an epoch)" if self.mean is None else f"{self.mean:.0f} %"

    @property
    def mean(self) -> float | None:
        """Mean of the samples so far; None without any."""
        return fmean(self._samples) if self._samples else None

    def _run(self) -> None:
        while not self._ended.wait(self._seconds):
            try:
                self._samples.append(self._sample())
            except ModuleNotFoundError:
                self._unknown = "needs the extra `gpu` of this package"
                return
            except Exception as error:  # noqa: BLE001 (the driver's errors share no base, and a report must not end a training)
                self._unknown = str(error)
                return


def gpu_report(job: TrainingJob, network: nn.Module, ranks: Ranks) -> GpuReport | None:
    """The report of a training's leading rank, None on CPUs; arguments as of `GpuReport`."""
    if ranks.device.type != "cuda":
        return None
    return GpuReport(job.model, network, job.training.precision, ranks)


def flops_per_row(model: ModelConfig, network: nn.Module) -> float | None:
    """Floating-point operations of products in a forward and backward pass, for one row.

    Element-wise operations and the optimiser are not in it. Only shapes are computed with, so the size of
    the network is of no matter; None for one that asks for values.
    """
    # Copied all but the tensors, which are without values.
    shapes: dict[int, Tensor] = {
        id(p): nn.Parameter(torch.empty_like(p, device="meta"), requires_grad=p.requires_grad)
        for p in network.parameters()
    }
    shapes |= {id(b): torch.empty_like(b, device="meta") for b in network.buffers()}
    counted = copy.deepcopy(network, shapes).train()
    preprocessor = model.preprocessor
    numeric = torch.empty(_COUNTED_ROWS, len(preprocessor.numeric), device="meta")
    categorical = torch.empty(
        _COUNTED_ROWS, len(preprocessor.categorical), dtype=torch.int64, device="meta"
    )
    try:
        with FlopCounterMode(display=False) as counter:
            counted(numeric, categorical).sum().backward()
    except (RuntimeError, TypeError, ValueError):
        return None
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
