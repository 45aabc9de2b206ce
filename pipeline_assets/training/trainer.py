"""The training loop: epochs over shards, validation, early stopping, checkpoints, the artefact."""

import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline_assets.shards.index import load_index
from pipeline_assets.shards.reader import ShardReader
from pipeline_assets.training.artefact import save_artefact
from pipeline_assets.training.checkpoint import COPIES, TrainingState, snapshot
from pipeline_assets.training.checkpoint_lock import CheckpointLock
from pipeline_assets.training.checkpoint_writer import Cadence, CheckpointWriter
from pipeline_assets.training.collectives import wait_for_all
from pipeline_assets.training.config import TrainingJob
from pipeline_assets.training.damaged_shards import find_damaged
from pipeline_assets.training.device_batches import device_batches
from pipeline_assets.training.end_of_epoch import check_coverage, epoch_entry
from pipeline_assets.training.epoch_sums import EpochSums
from pipeline_assets.training.gpu_report import gpu_report
from pipeline_assets.training.heartbeat import Heartbeat
from pipeline_assets.training.losses import RowLosses
from pipeline_assets.training.metrics import is_better
from pipeline_assets.training.model import TabularModel, build_network
from pipeline_assets.training.not_finite import NotFinite
from pipeline_assets.training.parallelize import Ranks, on_device
from pipeline_assets.training.precision import full_float32, set_precision
from pipeline_assets.training.preconditions import (
    check_network,
    check_trainable,
    micro_batch_notes,
    positive_weight,
)
from pipeline_assets.training.profile.recorder import profile_of
from pipeline_assets.training.progress import Progress
from pipeline_assets.training.resuming import go_back, resume
from pipeline_assets.training.schedule import learning_rate
from pipeline_assets.training.step import TrainingStep
from pipeline_assets.training.tasks import check_labels, target_scale
from pipeline_assets.training.validating import score_validation


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
        # Before the shards are read: options that the factory refuses are no reason to wait.
        torch.manual_seed(job.seed)
        network = build_network(job.model)
        self.left_out = find_damaged(job, ranks, heartbeat)
        self.index = load_index(job.shards)
        for note in self.left_out.notes(self.index.split_rows):
            progress.warn(note)
        index = self.index.without(self.left_out.files)
        check_trainable(job, index)
        self.train, self.validation = (
            ShardReader(
                job.shards, split, leave_out=self.left_out.files, on_progress=heartbeat.alive
            )
            for split in ("train", "validation")
        )
        for reader in (self.train, self.validation):
            check_labels(job.model, reader, on_block=heartbeat.alive)
        self.scales = {
            "positive_weight": positive_weight(job, self.train, on_block=heartbeat.alive),
            "target": target_scale(job.model, self.train, on_block=heartbeat.alive),
        }
        self.batches = self.train.batch_count(self.config.batch_size)
        for note in (*check_network(network), *micro_batch_notes(self.config, ranks.world_size)):
            progress.warn(note)
        # Before the network is on the device, and parallelised.
        self.gpu = gpu_report(job, network, ranks) if progress.active else None
        self.network = on_device(network, ranks, self.config)
        with ranks.device:
            self.model = TabularModel(self.network, job.model, **self.scales)
        losses = RowLosses(job.model, job.training, **self.scales).to(ranks.device)
        self.profile = profile_of(Path(job.output), self.config, self.network, ranks)
        self.step = TrainingStep(job, ranks, self.network, losses, self.profile)
        self.state = TrainingState(fingerprint=job.fingerprint(index.hash))
        self.best: dict[str, Tensor] = {}
        self.checkpoints = CheckpointWriter(Path(job.checkpoints), heartbeat.alive)
        self.cadence = self._new_cadence()

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
            # All ranks come here together, the leading one writes.
            left_out = self.left_out.entries()
            made = self.job, self.state, self.best, self.ranks, self.index, left_out
            save_artefact(*made, **self.scales)
            self.progress.finish(self.state.history, self.state.reloads, left_out)
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
        self.cadence = self._new_cadence()
        # A resume from an older one would forget this reload.
        self._checkpoint()

    def _epoch(self, epoch: int, done: int) -> None:
        sums = EpochSums(self.state, self.ranks)
        self.progress.start_epoch(epoch + 1, self.train.rows, self.state.epoch_rows)
        self.step.parallel.train()
        if self.gpu is not None:
            self.gpu.start_epoch()
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
        check_coverage(epoch + 1, self.state, self.train)
        self.heartbeat.validating(epoch + 1)
        started = time.perf_counter()
        with self.profile.span("validation"):
            scores = self.validate()
        self._judge(epoch, scores, time.perf_counter() - started)

    def _new_cadence(self) -> Cadence:
        weights = sum(p.numel() * p.element_size() for p in self.network.parameters())
        seconds, size = self.config.checkpoint_seconds, COPIES * weights
        return Cadence(seconds, self.ranks, self.checkpoints, size)

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
        return learning_rate(
            self.config, step, batches=self.batches, reloads=len(self.state.reloads)
        )

    def validate(self) -> dict[str, float]:
        """Score the validation split."""
        epoch = self.state.position // self.batches
        self.step.parallel.train(False)
        with full_float32():
            return score_validation(
                self.model,
                self.validation,
                self.ranks,
                in_step=self.step.parallel.is_sharded,
                on_block=lambda: self.heartbeat.validating(epoch),
            )

    def _judge(self, epoch: int, scores: dict[str, float], validation_seconds: float) -> None:
        """Note the epoch, keep the best weights, decide whether to stop, checkpoint."""
        state, monitor = self.state, self.config.monitor
        entry = epoch_entry(epoch + 1, state, self.train.rows, scores, validation_seconds)
        best = is_better(monitor, scores[monitor], state.best_score)
        if best:
            state.best_epoch, state.best_score = epoch + 1, scores[monitor]
            self.best = {k: v.detach().clone() for k, v in self.network.state_dict().items()}
            for earlier in state.history:
                earlier["best"] = False
        rate = self._learning_rate(state.position - 1)
        state.history.append({**entry, "learning_rate": rate, "best": best})
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
