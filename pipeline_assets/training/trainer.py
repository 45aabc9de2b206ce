"""The training loop: epochs over shards, validation, early stopping, checkpoints, the artefact."""

import dataclasses
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pipeline_assets.shards.index import ShardIndex, load_index
from pipeline_assets.shards.reader import Batch, ShardReader
from pipeline_assets.training.checkpoint import (
    TrainingState,
    load_checkpoint,
    restore,
    save_checkpoint,
)
from pipeline_assets.training.config import TrainingError, TrainingJob
from pipeline_assets.training.metrics import is_better, validation_scores
from pipeline_assets.training.model import TabularClassifier, build_network, save_model
from pipeline_assets.training.models.layers import set_row_keys
from pipeline_assets.training.parallelize import (
    Ranks,
    gather_rows,
    parallelize,
    sum_over_ranks,
    wait_for_all,
)
from pipeline_assets.training.progress import Progress
from pipeline_assets.training.schedule import learning_rate_share

_VALIDATION_ROWS = 8192


class Trainer:
    """One training on one rank; all ranks take the same decisions from the same numbers."""

    def __init__(self, job: TrainingJob, ranks: Ranks, progress: Progress) -> None:
        self.job = job
        self.config = job.training
        self.ranks = ranks
        self.progress = progress
        self.index = load_index(job.shards)
        check_trainable(job, self.index)
        if ranks.leads and job.verify_shards:
            for split in ("train", "validation"):
                ShardReader(job.shards, split, verify=True)
        wait_for_all(ranks)
        self.train = ShardReader(job.shards, "train")
        self.validation = ShardReader(job.shards, "validation")
        self.positive_weight = positive_weight(job, self.index)
        self.batches = self.train.batch_count(self.config.batch_size)
        torch.manual_seed(job.seed)
        self.network = build_network(job.model).to(ranks.device)
        self.classifier = TabularClassifier(self.network, self.positive_weight).to(ranks.device)
        self.parallel = parallelize(self.network, ranks)
        self.optimizer = _optimizer(
            self.network, self.config.learning_rate, self.config.weight_decay
        )
        self.loss = nn.BCEWithLogitsLoss(
            reduction="none", pos_weight=torch.tensor(self.positive_weight, device=ranks.device)
        )
        self.state = TrainingState(fingerprint=job.fingerprint(self.index.hash))
        self.best: dict[str, Tensor] = {}

    def run(self) -> list[dict[str, Any]]:
        """Train to the end, from the last checkpoint where there is one; return the history."""
        self._resume()
        while not self.state.finished:
            self._epoch(self.state.position // self.batches)
        if self.ranks.leads:
            self._save()
        wait_for_all(self.ranks)
        return self.state.history

    def _resume(self) -> None:
        folder = Path(self.job.checkpoints)
        state, tensors, notes = load_checkpoint(folder, self.state.fingerprint)
        for note in notes:
            self.progress.say(note)
        if state is not None:
            self.state = state
            self.best = restore(tensors, self.network, self.optimizer)
            self.progress.say(
                f"resumed after epoch {len(state.history)} ({state.position:,} batches done)"
            )
        # All have read before anyone may replace it.
        wait_for_all(self.ranks)

    def _epoch(self, epoch: int) -> None:
        started = time.perf_counter()
        self.progress.start_epoch(epoch + 1, self.train.rows)
        # Models may use torch's generator: its state is a function of the epoch, so a resume has it.
        torch.manual_seed(self.job.seed * 1_000_003 + epoch * 4_099 + self.ranks.rank)
        self.parallel.train()
        loss_sum = torch.zeros((), dtype=torch.float64, device=self.ranks.device)
        seen = np.zeros(2, dtype=np.int64)
        for batch in self.train.batches(
            self.config.batch_size,
            seed=self.job.seed,
            epoch=epoch,
            rank=self.ranks.rank,
            world_size=self.ranks.world_size,
            start_batch=self.state.position % self.batches,
        ):
            loss_sum += self._step(batch, epoch)
            seen += (len(batch.rows.row_id), batch.rows.row_id.sum(dtype=np.int64))
            self.state.position += 1
            self.progress.advance(batch.global_rows)
        self._check_coverage(epoch, seen)
        train_loss = float(sum_over_ranks(loss_sum, self.ranks)) / self.train.rows
        train_seconds = time.perf_counter() - started
        scores = self.validate()
        self._judge(epoch, train_loss, train_seconds, time.perf_counter() - started, scores)

    def _step(self, batch: Batch, epoch: int) -> Tensor:
        """One update; return this rank's sum of row losses, f64."""
        numeric, categorical, label, row_id = (
            torch.from_numpy(array).to(self.ranks.device, non_blocking=True) for array in batch.rows
        )
        step = self.state.position
        share = learning_rate_share(
            step, self.config.max_epochs * self.batches, self.config.warmup_share
        )
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate * share
        set_row_keys(self.network, row_id, step, self.job.seed)
        logits = self.parallel(numeric, categorical)
        losses = self._row_losses(logits, label)
        # Ranks may hold unequal parts: sums over rows, divided by the rows of all, are right for any
        # partition; the factor undoes the mean over ranks.
        total = losses.sum() * (self.ranks.world_size / batch.global_rows)
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.config.gradient_clip)
        # The norm is that of the mean over ranks: all see a fault in the same step, before the update.
        if not torch.isfinite(norm):
            self._raise_not_finite(batch, epoch, losses.detach(), row_id)
        self.optimizer.step()
        return losses.detach().sum(dtype=torch.float64)

    def _row_losses(self, logits: Tensor, label: Tensor) -> Tensor:
        """Return losses [n]; members of an ensemble are trained each on its own, by their mean."""
        if logits.ndim == 1:
            return self.loss(logits, label)
        return self.loss(logits, label[:, None].expand_as(logits)).mean(dim=1)

    def validate(self) -> dict[str, float]:
        """Score the validation split, each rank a contiguous part of it."""
        self.parallel.eval()
        probability, label = [np.empty(0, np.float32)], [np.empty(0, np.float32)]
        for rows in self.validation.iter_blocks(
            _VALIDATION_ROWS, rank=self.ranks.rank, world_size=self.ranks.world_size
        ):
            probability.append(self.classifier.predict_proba(rows.numeric, rows.categorical))
            label.append(rows.label)
        gathered = [
            gather_rows(torch.from_numpy(np.concatenate(parts)).to(self.ranks.device), self.ranks)
            for parts in (label, probability)
        ]
        return validation_scores(*(tensor.cpu().numpy() for tensor in gathered))

    def _judge(
        self,
        epoch: int,
        train_loss: float,
        train_seconds: float,
        seconds: float,
        scores: dict[str, float],
    ) -> None:
        """Note the epoch, keep the best weights, decide whether to stop, checkpoint."""
        state, monitor = self.state, self.config.monitor
        best = is_better(monitor, scores[monitor], state.best_score)
        if best:
            state.best_epoch, state.best_score = epoch + 1, scores[monitor]
            self.best = {k: v.detach().clone() for k, v in self.network.state_dict().items()}
            for entry in state.history:
                entry["best"] = False
        state.history.append(
            {
                "epoch": epoch + 1,
                "train_loss": train_loss,
                **{f"validation_{name}": score for name, score in scores.items()},
                "learning_rate": self.optimizer.param_groups[0]["lr"],
                "best": best,
                "rows_per_second": self.train.rows / train_seconds,
                "seconds": seconds,
            }
        )
        waited = epoch + 1 - state.best_epoch
        state.finished = epoch + 1 >= self.config.max_epochs or waited >= self.config.patience
        self.progress.end_epoch(state.history)
        if self.ranks.leads and (
            state.finished or (epoch + 1) % self.config.checkpoint_epochs == 0
        ):
            folder = Path(self.job.checkpoints)
            save_checkpoint(folder, state, self.network, self.optimizer, self.best)
        if waited >= self.config.patience:
            self.progress.say(
                f"stopped: no better validation {monitor} for {waited} epochs; "
                f"best {state.best_score:.5f} in epoch {state.best_epoch}"
            )

    def _check_coverage(self, epoch: int, seen: np.ndarray) -> None:
        rows, total = sum_over_ranks(torch.from_numpy(seen), self.ranks).tolist()
        if (rows, total) != (self.train.rows, self.train.row_id_sum):
            raise TrainingError(
                f"epoch {epoch + 1} saw {rows:,} rows (row_id sum {total}), the shards hold "
                f"{self.train.rows:,} (sum {self.train.row_id_sum}): rows were dropped or repeated"
            )

    def _raise_not_finite(self, batch: Batch, epoch: int, losses: Tensor, row_id: Tensor) -> None:
        known = torch.where(torch.isfinite(losses), losses, torch.inf)
        worst = known.argsort(descending=True)[:5]
        values = gather_rows(losses[worst], self.ranks).tolist()
        ids = gather_rows(row_id[worst], self.ranks).tolist()
        pairs = sorted(zip(values, ids), key=lambda pair: (math.isfinite(pair[0]), -pair[0]))[:5]
        rows = ", ".join(f"row_id {row} (loss {value:.3g})" for value, row in pairs)
        raise TrainingError(
            f"loss or gradient is NaN or infinite in epoch {epoch + 1}, batch {batch.index} "
            f"({batch.global_rows} rows); worst rows: {rows}. Look at their features, or lower "
            f"learning_rate ({self.config.learning_rate}) or gradient_clip "
            f"({self.config.gradient_clip})"
        )

    def _save(self) -> None:
        save_model(
            Path(self.job.output),
            weights=self.best,
            config=self.job.model,
            positive_weight=self.positive_weight,
            extra={
                "training": dataclasses.asdict(self.config),
                "seed": self.job.seed,
                "shards": self.index.hash,
                "train_rows": self.train.rows,
                "best_epoch": self.state.best_epoch,
                "best_score": self.state.best_score,
                "world_size": self.ranks.world_size,
                "torch": torch.__version__,
            },
        )
        self.progress.finish(self.state.history)


def check_trainable(job: TrainingJob, index: ShardIndex) -> None:
    """Raise `TrainingError` where this training would fail, or mean nothing, later."""
    preprocessor = job.model.preprocessor
    for kind, configured, held in (
        ("numeric", tuple(f.name for f in preprocessor.numeric), index.numeric),
        ("categorical", tuple(f.name for f in preprocessor.categorical), index.categorical),
    ):
        if configured != held:
            raise TrainingError(
                f"the preprocessor knows the {kind} features {list(configured)}, the shards hold "
                f"{list(held)}: statistics and shards come from different features"
            )
    for split in ("train", "validation"):
        rows, positives = index.split_rows[split], index.positives(split)
        if rows == 0:
            raise TrainingError(f"the {split} split has no rows; nothing to train with")
        if positives in (0, rows):
            only = "negative" if positives == 0 else "positive"
            raise TrainingError(
                f"all {rows:,} rows of the {split} split are {only}: there is nothing to tell apart. "
                "Check `features.label` (column and positive value), or enlarge the split"
            )


def positive_weight(job: TrainingJob, index: ShardIndex) -> float:
    """Resolve the setting: `balanced` is negatives / positives of the training rows."""
    setting = job.training.positive_weight
    if setting == "none":
        return 1.0
    if setting == "balanced":
        positives = index.positives("train")
        return (index.split_rows["train"] - positives) / positives
    return float(setting)


def _optimizer(network: nn.Module, rate: float, decay: float) -> torch.optim.AdamW:
    """AdamW; weight matrices and embeddings decay, biases and adapters do not."""
    decayed, plain = [], []
    for name, parameter in network.named_parameters():
        is_weight = name.endswith("weight") and parameter.ndim >= 2
        (decayed if is_weight else plain).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=rate, fused=True)
