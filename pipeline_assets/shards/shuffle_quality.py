"""How well an epoch is shuffled: rank correlations of its order, and the balance of its batches.

    quality = shuffle_quality(ShardReader(folder, "train"), batch_size=4096)
    print(quality)

Order and labels are enough for this: of the columns of the shards only the labels are read.
"""

import math
from dataclasses import dataclass

import numpy as np

from pipeline_assets.shards.reader import BLOCK_ROWS, ShardReader


@dataclass(frozen=True, kw_only=True)
class ShuffleQuality:
    """Figures of an epoch; each has a value that a perfect shuffle gives, and a standard error around it."""

    disk_correlation: float
    """Spearman's rank correlation of the order on disk and the order of the epoch; 0 is perfect."""
    epoch_correlation: float
    """Spearman's rank correlation of the orders of this epoch and the next; 0 is perfect. Above one window
    the rows of a block move together, so it varies by 1 / sqrt(blocks) around 0."""
    correlation_error: float
    """Standard error of both in a perfect shuffle."""
    class_balance: float
    """Chi-square of the positive rows of the full batches against the hypergeometric distribution, by
    degree of freedom: 1 is perfect, 0 the same in every batch; the variance of a batch's share of
    positive rows is so many times that of a perfect shuffle. NaN with one class or fewer than two batches."""
    class_balance_error: float
    """Standard error of it in a perfect shuffle."""

    def __str__(self) -> str:
        return (
            f"rank correlation with the order on disk {self.disk_correlation:+.5f}, with the next epoch "
            f"{self.epoch_correlation:+.5f} (perfect: 0 ± {self.correlation_error:.5f}); positives per "
            f"batch, chi-square by degree of freedom {self.class_balance:.3f} "
            f"(perfect: 1 ± {self.class_balance_error:.3f})"
        )


def shuffle_quality(
    reader: ShardReader, batch_size: int, *, seed: int = 0, epoch: int = 0
) -> ShuffleQuality:
    """Measure an epoch of a split with labels 0 and 1.

    Args:
        reader: of the split; int64 [rows] twice and its labels are held in memory.
        batch_size: rows of a global batch.
        seed: of the order.
        epoch: the epoch that is compared with the order on disk and with the next epoch.
    """
    this = reader.positions(seed=seed, epoch=epoch)
    label = np.concatenate([rows.label for rows in reader.iter_blocks(BLOCK_ROWS)])
    batches = len(this) // batch_size
    degrees = max(batches - 1, 0)
    balance = class_balance(label[this], batch_size)
    rows = np.arange(len(this))
    disk = rank_correlation(rows, this)
    # Where each row stands in the one epoch, and in the other.
    following = reader.positions(seed=seed, epoch=epoch + 1)
    of_next = np.empty_like(following)
    of_next[following] = rows
    return ShuffleQuality(
        disk_correlation=disk,
        epoch_correlation=rank_correlation(rows, of_next[this]),
        correlation_error=1 / math.sqrt(max(len(this) - 1, 1)),
        class_balance=balance,
        class_balance_error=math.sqrt(2 / degrees) if degrees else math.nan,
    )


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's rank correlation of two permutations of the same numbers, [n] each; NaN below two.

    >>> rank_correlation(np.arange(5), np.arange(5)[::-1])
    -1.0
    """
    if len(first) < 2:
        return math.nan
    return float(np.corrcoef(first, second)[0, 1].round(12))


def class_balance(label: np.ndarray, batch_size: int) -> float:
    """Chi-square, by degree of freedom, of positives per full batch; as in `ShuffleQuality`.

    Args:
        label: 0 and 1, [n], in the order of the epoch.
        batch_size: rows of a batch.
    """
    batches = len(label) // batch_size
    full = label[: batches * batch_size]
    share = float(full.mean(dtype=np.float64)) if batches else 0.0
    if batches < 2 or share in (0.0, 1.0):
        return math.nan
    found = full.reshape(batches, batch_size).sum(axis=1, dtype=np.float64)
    # Drawn without replacement, and the sum over all batches is given.
    left = (len(full) - batch_size) / (len(full) - 1)
    variance = batch_size * share * (1 - share) * left
    return float(((found - batch_size * share) ** 2).mean() / variance)
