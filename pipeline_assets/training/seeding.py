"""The state of torch's generators as a function of the step."""

import torch


def seed_generators(seed: int, step: int, rank: int, device: torch.device) -> None:
    """Seed the generators of the CPU and of a device for one step of one rank.

    `torch.manual_seed` looks for every kind of accelerator, a hundred times slower than this.
    """
    mixed = (seed * 1_000_003 + step) * 65_537 + rank
    torch.default_generator.manual_seed(mixed % 2**63)
    if device.type == "cuda":
        torch.cuda.default_generators[device.index].manual_seed(mixed % 2**63)
