"""One update of the weights from a global batch."""

import torch
from torch import Tensor, nn

from pipeline_assets.training.config import TrainingJob
from pipeline_assets.training.device_batches import DeviceBatch
from pipeline_assets.training.losses import RowLosses
from pipeline_assets.training.models.layers import set_row_keys
from pipeline_assets.training.not_finite import FiniteChecks
from pipeline_assets.training.optimizer import build_optimizer
from pipeline_assets.training.parallelize import ParallelNetwork, Ranks, clip_gradients
from pipeline_assets.training.precision import MixedPrecision
from pipeline_assets.training.profile.recorder import NoProfile
from pipeline_assets.training.seeding import seed_generators


class TrainingStep:
    """Network, loss and optimiser over ranks; all ranks take each step together.

    Args:
        job: its settings.
        ranks: all of them.
        network: from `on_device`; sharded in place if the job says so.
        losses: of rows.
        profile: is told the parts of each step.
    """

    def __init__(
        self,
        job: TrainingJob,
        ranks: Ranks,
        network: nn.Module,
        losses: RowLosses,
        profile: NoProfile,
    ) -> None:
        self._profile = profile
        self._seed = job.seed
        self._config = job.training
        self._ranks = ranks
        self._network = network
        self._losses = losses
        self.parallel = ParallelNetwork(network, ranks, self._config)
        self.optimizer = build_optimizer(
            network, self._config.learning_rate, self._config.weight_decay
        )
        self.precision = MixedPrecision(self._config.precision, ranks.device)
        self._checks = FiniteChecks(ranks)

    def update(self, batch: DeviceBatch, *, epoch: int, step: int, rate: float) -> Tensor:
        """Update the weights; return this rank's sum of row losses, f64.

        Args:
            batch: this rank's part of a global batch.
            epoch: from 1, for messages.
            step: global batches done so far.
            rate: learning rate.

        Raises:
            NotFinite: on all ranks, before the update; on GPUs after the update of the next step, or by
                `settle`.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        # Models may use torch's generators: their state is a function of the step, so a resume has it.
        seed_generators(self._seed, step, self._ranks.rank, self._ranks.device)
        self.optimizer.zero_grad(set_to_none=True)
        losses = self._backward(batch, step)
        with self._profile.span("optimiser"):
            self.precision.unscale(self.optimizer)
            norm = clip_gradients(self._network, self._config.gradient_clip)
            scale = self.precision.scale()
            self._checks.add(batch, epoch, losses, norm, scale)
            self.precision.step(self.optimizer)
            self._checks.look_back()
        return losses.sum(dtype=torch.float64)

    def settle(self) -> None:
        """Be sure of all steps so far; before anything is made of weights or losses.

        Raises:
            NotFinite: on all ranks.
        """
        self._checks.settle()

    def restore(self, loss_scale: dict[str, float]) -> None:
        """Go on from an earlier state, after network and optimiser were set to it."""
        self._checks.forget()
        self.precision.restore(loss_scale)

    def _backward(self, batch: DeviceBatch, step: int) -> Tensor:
        """Compute the gradients, micro-batch by micro-batch; return the losses of rows, f32 [n]."""
        parts = self._config.gradient_accumulation
        full = batch.global_rows == self._config.batch_size
        found = []
        for at, micro_batch in enumerate(
            zip(*(column.tensor_split(parts) for column in batch.columns))
        ):
            numeric, categorical, label, row_id = micro_batch
            set_row_keys(self._network, row_id, step, self._seed)
            with self.parallel.synchronised(at + 1 == parts):
                with self._profile.span("forward"):
                    with self.precision.autocast():
                        output = self.parallel.forward(numeric, categorical, full=full)
                    losses = self._losses(output, label)
                    # Ranks may hold unequal parts: sums over rows, divided by the rows of all, are right
                    # for any partition; the factor undoes the mean over ranks. It is NaN where a loss is not
                    # finite: then the gradients are, too, and the norm that all ranks see.
                    total = losses.sum()
                    factor = total.detach() * 0 + self._ranks.world_size / batch.global_rows
                    loss = total * factor
                with self._profile.span("backward"):
                    self.precision.backward(loss)
            found.append(losses.detach())
        return torch.cat(found) if parts > 1 else found[0]
