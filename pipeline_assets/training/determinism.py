"""What torch is told before a training."""

import torch


def set_deterministic(on: bool) -> None:
    """Let operations without a deterministic algorithm fail, or not.

    Torch would also fill every tensor that it allocates for a result with NaN, a kernel each. That shows who
    reads memory that was never written; here every such tensor is written whole first, so it changes nothing.
    """
    torch.use_deterministic_algorithms(on)
    torch.utils.deterministic.fill_uninitialized_memory = False  # pyright: ignore[reportAttributeAccessIssue]
