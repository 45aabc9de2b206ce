"""Learning rate by step."""

import math


def learning_rate_share(step: int, total_steps: int, warmup_share: float) -> float:
    """Return the share of the peak rate at a step (from 0): linear warm-up, then cosine to zero."""
    warmup = int(total_steps * warmup_share)
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, total_steps - warmup)
    return 0.5 * (1 + math.cos(math.pi * progress))
