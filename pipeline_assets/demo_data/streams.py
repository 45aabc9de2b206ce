"""Randomness with names: what is drawn under one never depends on what was drawn under another."""

import zlib

import numpy as np


def random_stream(seed: int, *name: str | int) -> np.random.Generator:
    """A generator that follows from the seed and the name alone, on every machine.

    Args:
        seed: any integer.
        name: what is drawn; numbers are not negative.

    >>> random_stream(0, "day", 3).integers(100) == random_stream(0, "day", 3).integers(100)
    True
    """
    parts = [zlib.crc32(part.encode()) if isinstance(part, str) else part for part in name]
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed % 2**64, *parts])))


def random_values(seed: int, name: str, *of: np.ndarray) -> np.ndarray:
    """A number for each row that follows from the seed, the name and the row's integers alone.

    For attributes that are looked up in any order, e.g. those of a user's third version.

    Args:
        seed: any integer.
        name: what is drawn.
        of: int64 [rows] each; what the number belongs to.

    Returns:
        float64 [rows], uniform in [0, 1).

    >>> bool(random_values(0, "plan", np.arange(9))[4] == random_values(0, "plan", np.array([4]))[0])
    True
    """
    state = random_stream(seed, name).integers(2**64, size=1, dtype=np.uint64)
    for values in of:
        state = _mixed(state ^ _mixed(values.astype(np.uint64)))
    return (state >> np.uint64(11)) * 2.0**-53


def _mixed(state: np.ndarray) -> np.ndarray:
    """The output function of SplitMix64."""
    state = state + np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))
