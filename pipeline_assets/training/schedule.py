"""Learning rate by step."""

import math

from pipeline_assets.training.config import TrainingConfig


def learning_rate(config: TrainingConfig, step: int, *, batches: int, reloads: int) -> float:
    """Return the rate of a step (from 0) of a training with so many batches an epoch.

    Each of the `reloads`, returns to an earlier state after a loss that was not finite, has lowered it.
    """
    share = learning_rate_share(step, config.max_epochs * batches, config.warmup_share)
    return config.learning_rate * share * config.reload_rate_factor**reloads


def learning_rate_share(step: int, total_steps: int, warmup_share: float) -> float:
    """Return the share of the peak rate at a step (from 0): linear warm-up, then cosine to zero."""
    warmup = int(total_steps * warmup_share)
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, total_steps - warmup)
    return 0.5 * (1 + math.cos(math.pi * progress))
