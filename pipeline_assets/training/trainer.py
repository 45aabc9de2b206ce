"""The training loop: epochs over shards, validation, early stopping, checkpoints, the artefact."""

import math
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline_assets.shards.index import load_index
from pipeline_assets.shards.reader import ShardReader
from pipeline_assets.training.checkpoint import TrainingState, snapshot
from pipeline_assets.training.checkpoint_lock import CheckpointLock
from pipeline_assets.training.checkpoint_writer import Cadence, CheckpointWriter
from pipeline_assets.training.config import TrainingError, TrainingJob
from pipeline_assets.training.damaged_shards import find_damaged
from pipeline_assets.training.device_batches import device_batches
from pipeline_assets.training.epoch_sums import EpochSums
from pipeline_assets.training.gpu_report import GpuReport
from pipeline_assets.training.heartbeat import Heartbeat
from pipeline_assets.training.losses import RowLosses
from pipeline_assets.training.metrics import is_better, validation_scores
from pipeline_assets.training.model import TabularModel, build_network, save_model
from pipeline_assets.training.not_finite import NotFinite
from pipeline_assets.training.parallelize import Ranks, wait_for_all, whole
from pipeline_assets.training.precision import full_float32, set_precision
from pipeline_assets.training.preconditions import check_trainable, positive_weight
from pipeline_assets.training.profile.recorder import profile_of
from pipeline_assets.training.progress import Progress
from pipeline_assets.training.resuming import go_back, resume
from pipeline_assets.training.schedule import learning_rate_share
from pipeline_assets.training.step import TrainingStep
from pipeline_assets.training.tasks import check_labels, target_scale
from pipeline_assets.training.validating import validation_predictions


class Trainer:
    """One training on one rank; all ranks take the same decisions from the same numbers."""

    def __init__(
        self, job: TrainingJob, ranks: Ranks, progress: Progress, heartbeat: Heartbeat
    ) -> None:
        self.job = job
        self.config = job.training
        self.ranks = ranks
        self.progress = progress
        self.heartbeat = heartbeat
        note = set_precision(self.config.precision, ranks.device)
        if note is not None:
            progress.say(note)
        self.left_out = find_damaged(job, ranks, heartbeat)
        for note in self.left_out.notes(load_index(job.shards).split_rows):
            progress.say(note)
        self.index = load_index(job.shards).without(self.left_out.files)
        check_trainable(job, self.index)
        self.train, self.validation = (
            ShardReader(
                job.shards, split, leave_out=self.left_out.files, on_progress=heartbeat.alive
            )
            for split in ("train", "validation")
        )
        for reader in (self.train, self.validation):
            check_labels(job.model, reader)
        self.positive_weight = positive_weight(job, self.index)
        self.target = target_scale(job.model, self.train)
        self.batches = self.train.batch_count(self.config.batch_size)
        torch.manual_seed(job.seed)
        self.network = build_network(job.model).to(ranks.device)
        scales = {"positive_weight": self.positive_weight, "target": self.target}
        self.model = TabularModel(self.network, job.model, **scales).to(ranks.device)
        # Before the network is parallelised.
        on_gpu = ranks.device.type == "cuda"
        self.gpu = (
            GpuReport(job.model, self.network, self.config.precision, ranks) if on_gpu else None
        )
        losses = RowLosses(job.model, job.training, **scales).to(ranks.device)
        self.profile = profile_of(Path(job.output), self.config, self.network, ranks)
        self.step = TrainingStep(job, ranks, self.network, losses, self.profile)
        self.state = TrainingState(fingerprint=job.fingerprint(self.index.hash))
        self.best: dict[str, Tensor] = {}
        self.checkpoints = CheckpointWriter(Path(job.checkpoints), heartbeat.alive)
        self.cadence = Cadence(self.config.checkpoint_seconds, ranks, self.checkpoints)

    def run(self) -> list[dict[str, Any]]:
        """Train to the end, from the last checkpoint where there is one; return the history."""
        folder = Path(self.job.checkpoints)
        lock = CheckpointLock(folder, self.progress.say, self.heartbeat.alive)
        with lock if self.ranks.leads else nullcontext(), self.checkpoints:
            self._resume()
            self.profile.begin()
            while not self.state.finished:
                epoch, done = divmod(self.state.position, self.batches)
                try:
                    with self.profile.epoch(epoch + 1, self.batches - done):
                        self._epoch(epoch, done)
                except NotFinite as fault:
                    self._go_back(fault)
            with self.profile.span("checkpoint"):
                self.checkpoints.wait_on_all(self.ranks)
            self._save()
            summary = self.profile.finish()
            if summary is not None:
                self.progress.say(summary)
        wait_for_all(self.ranks)
        return self.state.history

    def _resume(self) -> None:
        folder, fingerprint = Path(self.job.checkpoints), self.state.fingerprint
        parts = self.network, self.step.optimizer, self.ranks, self.progress, self.heartbeat
        found = resume(folder, fingerprint, *parts)
        if found is not None:
            self.state, self.best = found
            self.step.restore(self.state.loss_scale)
        elif self.config.on_not_finite == "reload":
            self._checkpoint()

    def _go_back(self, fault: NotFinite) -> None:
        """After a loss that is not finite: to the last state at the end of an epoch, or an error."""
        self.checkpoints.wait_on_all(self.ranks)
        folder = Path(self.job.checkpoints)
        parts = self.network, self.step.optimizer, self.ranks, self.progress, self.heartbeat
        self.state, self.best = go_back(fault, self.config, self.state, folder, *parts)
        self.step.restore(self.state.loss_scale)
        self.cadence = Cadence(self.config.checkpoint_seconds, self.ranks, self.checkpoints)
        # A resume from an older one would forget this reload.
        self._checkpoint()

    def _epoch(self, epoch: int, done: int) -> None:
        sums = EpochSums(self.state, self.ranks)
        self.progress.start_epoch(epoch + 1, self.train.rows, self.state.epoch_rows)
        self.step.parallel.train()
        batches = self.train.batches(
            self.config.batch_size,
            seed=self.job.seed,
            epoch=epoch,
            rank=self.ranks.rank,
            world_size=self.ranks.world_size,
            start_batch=done,
        )
        for batch in self.profile.batches(device_batches(batches, self.ranks.device)):
            self.heartbeat.batch(epoch + 1, batch.index)
            step = self.state.position
            loss = self.step.update(
                batch, epoch=epoch + 1, step=step, rate=self._learning_rate(step)
            )
            sums.add(loss, batch.host.row_id)
            self.state.position += 1
            self.progress.advance(batch.global_rows)
            if batch.index + 1 < self.batches and self._is_due():
                self.step.settle()
                sums.store(self.state)
                self._checkpoint()
        self.step.settle()
        with self.profile.span("communication"):
            sums.store(self.state)
        if self.gpu is not None:
            self.progress.say(self.gpu.line(self.train.rows / self.state.epoch_seconds))
        self._check_coverage(epoch)
        self.heartbeat.validating(epoch + 1)
        started = time.perf_counter()
        with self.profile.span("validation"):
            scores = self.validate()
        self._judge(epoch, scores, time.perf_counter() - started)

    def _is_due(self) -> bool:
        """Whether all ranks save in mid-epoch now."""
        with self.profile.span("communication"):
            return self.cadence.due(self.state.position)

    def _is_due_after(self, epoch: int) -> bool:
        """Whether all ranks save at the end of an epoch that is not the last."""
        if (epoch + 1) % self.config.checkpoint_epochs:
            return False
        # The state that a reload goes back to must be the same in every run: not chosen by the clock.
        return self.config.on_not_finite == "reload" or self.cadence.affordable()

    def _learning_rate(self, step: int) -> float:
        """Of a step; lower after each reload."""
        share = learning_rate_share(
            step, self.config.max_epochs * self.batches, self.config.warmup_share
        )
        lowered = self.config.reload_rate_factor ** len(self.state.reloads)
        return self.config.learning_rate * share * lowered

    def validate(self) -> dict[str, float]:
        """Score the validation split."""
        epoch = self.state.position // self.batches
        self.step.parallel.train(False)
        with full_float32():
            label, predicted = validation_predictions(
                self.model,
                self.validation,
                self.ranks,
                in_step=self.step.parallel.is_sharded,
                on_block=lambda: self.heartbeat.validating(epoch),
            )
        return validation_scores(label, predicted, self.job.model)

    def _judge(self, epoch: int, scores: dict[str, float], validation_seconds: float) -> None:
        """Note the epoch, keep the best weights, decide whether to stop, checkpoint."""
        state, monitor = self.state, self.config.monitor
        train_loss = math.fsum(state.epoch_losses) / self.train.rows
        if not math.isfinite(train_loss):
            raise TrainingError(
                f"the training loss of epoch {epoch + 1} is {train_loss}, and the gradients did not show it: "
                "the network or its backward pass replaces values that are not finite. Let it pass them on, so "
                "that batch and rows can be named"
            )
        undefined = [name for name, score in scores.items() if not math.isfinite(score)]
        if undefined:
            raise TrainingError(
                f"validation {', '.join(undefined)} of epoch {epoch + 1} is not a finite number, so no epoch is "
                "better than another: predictions have overflowed, or a label has one class only. Look for "
                "extreme values in the validation rows"
            )
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
                "learning_rate": self._learning_rate(state.position - 1),
                "best": best,
                "rows_per_second": self.train.rows / state.epoch_seconds,
                "seconds": state.epoch_seconds + validation_seconds,
                "checkpoint_share": state.checkpoint_seconds / state.epoch_seconds,
            }
        )
        state.start_epoch()
        waited = epoch + 1 - state.best_epoch
        state.finished = epoch + 1 >= self.config.max_epochs or waited >= self.config.patience
        self.progress.end_epoch(state.history)
        if state.finished or self._is_due_after(epoch):
            self._checkpoint()
        if waited >= self.config.patience:
            self.progress.say(
                f"stopped: no better validation {monitor} for {waited} epochs; "
                f"best {state.best_score:.5f} in epoch {state.best_epoch}"
            )

    def _check_coverage(self, epoch: int) -> None:
        rows, total = self.state.epoch_rows, self.state.epoch_row_id_sum
        if (rows, total) != (self.train.rows, self.train.row_id_sum):
            raise TrainingError(
                f"epoch {epoch + 1} saw {rows:,} rows (row_id sum {total}), the shards hold "
                f"{self.train.rows:,} (sum {self.train.row_id_sum}): rows were dropped or repeated"
            )

    def _checkpoint(self) -> None:
        """Save; all ranks come here together, the leading one writes."""
        started = time.perf_counter()
        self.state.loss_scale = self.step.precision.state()
        with self.profile.span("checkpoint"):
            self.checkpoints.wait_on_all(self.ranks)
            tensors = snapshot(self.network, self.step.optimizer, self.best, keep=self.ranks.leads)
            if self.ranks.leads:
                self.checkpoints.submit(self.state, tensors)
        cost = time.perf_counter() - started
        self.state.checkpoint_seconds += cost
        self.cadence.saved(cost)

    def _save(self) -> None:
        """Write the artefact; all ranks come here together, the leading one writes."""
        weights = {name: whole(tensor) for name, tensor in self.best.items()}
        if not self.ranks.leads:
            return
        left_out = self.left_out.entries()
        save_model(
            Path(self.job.output),
            weights=weights,
            config=self.job.model,
            positive_weight=self.positive_weight,
            target=self.target,
            extra={
                "training": self.config.shaping(),
                "seed": self.job.seed,
                "shards": load_index(self.job.shards).hash,
                "left_out_shards": left_out,
                "train_rows": self.train.rows,
                "best_epoch": self.state.best_epoch,
                "best_score": self.state.best_score,
                "reloads": self.state.reloads,
                "world_size": self.ranks.world_size,
                "torch": torch.__version__,
            },
        )
        self.progress.finish(self.state.history, self.state.reloads, left_out)
