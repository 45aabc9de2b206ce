"""The loops that the training loop is compared with: the same network, loss, optimiser, batches and device."""

import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline_assets.training.config import TrainingJob
from pipeline_assets.training.model import build_network
from pipeline_assets.training.models.layers import set_row_keys
from pipeline_assets.training.optimizer import build_optimizer

Columns = dict[str, np.ndarray]
Epoch = Callable[[], int]
"""Trains on all rows once; returns how many there were."""


def device_of_loop() -> torch.device:
    """Where one rank trains on this machine."""
    return torch.device("cuda", 0) if torch.cuda.device_count() else torch.device("cpu")


def limit(
    job: TrainingJob,
    columns: Columns,
    device: torch.device,
    wrap: Callable[[nn.Module], nn.Module] = nn.Module.train,
) -> Epoch:
    """Tensors in the device's memory, a permutation, and nothing but the update of a network, wrapped or not."""
    plain, optimizer = _parts(job, device)
    network = wrap(plain)
    tensors = [
        torch.from_numpy(columns[name]).to(device) for name in ("numeric", "categorical", "label")
    ]
    ids, size = torch.from_numpy(columns["row_id"]).to(device), job.training.batch_size

    def epoch() -> int:
        order = torch.randperm(len(ids), device=device)
        for step, start in enumerate(range(0, len(order), size)):
            rows = order[start : start + size]
            numeric, categorical, label = (tensor[rows] for tensor in tensors)
            set_row_keys(plain, ids[rows], step, 0)
            _update(network, optimizer, numeric, categorical, label, job.training.gradient_clip)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return len(order)

    return epoch


def textbook(job: TrainingJob, columns: Columns, device: torch.device) -> Epoch:
    """DataLoader(TensorDataset), and the loss of every step as a number."""
    network, optimizer = _parts(job, device)
    loader = _loader(job, columns)

    def epoch() -> int:
        rows, total = 0, 0.0
        for step, batch in enumerate(loader):
            numeric, categorical, label, row_id = (column.to(device) for column in batch)
            set_row_keys(network, row_id, step, 0)
            clip = job.training.gradient_clip
            loss = _update(network, optimizer, numeric, categorical, label, clip)
            total += loss.item()
            rows += len(label)
        return rows

    return epoch


def lightning(job: TrainingJob, columns: Columns, device: torch.device) -> Epoch:
    """Lightning with the DataLoader that its documentation shows; no logger, bar or checkpoints."""
    import logging
    import warnings

    import pytorch_lightning as pl  # pyright: ignore[reportMissingImports]

    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning")

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = build_network(job.model)

        def training_step(self, batch: list[Tensor], index: int) -> Tensor:
            numeric, categorical, label, row_id = batch
            set_row_keys(self.network, row_id, index, 0)
            return functional.binary_cross_entropy_with_logits(
                self.network(numeric, categorical), label
            )

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return build_optimizer(
                self.network, job.training.learning_rate, job.training.weight_decay
            )

    loader, module = _loader(job, columns), Module()

    def epoch() -> int:
        trainer = pl.Trainer(
            max_epochs=1,
            accelerator="gpu" if device.type == "cuda" else "cpu",
            devices=1,
            gradient_clip_val=job.training.gradient_clip,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(module, loader)
        return len(columns["label"])

    return epoch


def rows_per_second(epoch: Epoch) -> float:
    """Rate of one epoch."""
    started = time.perf_counter()
    rows = epoch()
    return rows / (time.perf_counter() - started)


def _parts(job: TrainingJob, device: torch.device) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    network = build_network(job.model).to(device).train()
    settings = job.training
    return network, build_optimizer(network, settings.learning_rate, settings.weight_decay)


def _loader(
    job: TrainingJob, columns: Columns
) -> "torch.utils.data.DataLoader[tuple[Tensor, ...]]":
    names = ("numeric", "categorical", "label", "row_id")
    dataset = torch.utils.data.TensorDataset(*(torch.from_numpy(columns[name]) for name in names))
    return torch.utils.data.DataLoader(dataset, batch_size=job.training.batch_size, shuffle=True)


def _update(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    numeric: Tensor,
    categorical: Tensor,
    label: Tensor,
    clip: float,
) -> Tensor:
    loss = functional.binary_cross_entropy_with_logits(network(numeric, categorical), label)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(network.parameters(), clip)
    optimizer.step()
    return loss.detach()
