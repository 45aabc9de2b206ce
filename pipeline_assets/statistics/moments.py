"""Mergeable moments and pairwise co-moments of numeric columns with missing values (NumPy only).

Both keep centred sums, so that a large mean does not cancel a small variance, and merge by the
pairwise formulas of Chan, Golub, LeVeque (1983) and, for the third and fourth moment, Pébay (2008,
SAND2008-6212).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Moments:
    """Moments per column, each array float64 [F] (`count` and `zeros` int64 [F])."""

    count: np.ndarray
    mean: np.ndarray
    m2: np.ndarray
    m3: np.ndarray
    m4: np.ndarray
    min: np.ndarray
    max: np.ndarray
    zeros: np.ndarray

    @classmethod
    def of(cls, block: np.ndarray) -> Moments:
        """Return the moments of a block, float64 [rows, F], NaN for missing."""
        present = ~np.isnan(block)
        count = present.sum(axis=0)
        total = np.where(present, block, 0.0).sum(axis=0)
        mean = np.divide(total, count, out=np.zeros_like(total), where=count > 0)
        centred = np.where(present, block - mean, 0.0)
        square = centred * centred
        return cls(
            count=count,
            mean=mean,
            m2=square.sum(axis=0),
            m3=(square * centred).sum(axis=0),
            m4=(square * square).sum(axis=0),
            min=np.where(present, block, np.inf).min(axis=0, initial=np.inf),
            max=np.where(present, block, -np.inf).max(axis=0, initial=-np.inf),
            zeros=(block == 0).sum(axis=0),
        )

    def merge(self, other: Moments) -> Moments:
        """Return the moments of both together."""
        a, b = self.count.astype(np.float64), other.count.astype(np.float64)
        n = np.maximum(a + b, 1.0)
        delta = np.where((a > 0) & (b > 0), other.mean - self.mean, 0.0)
        mean = (a * self.mean + b * other.mean) / n
        # One side empty: the other's mean as it is, not multiplied and divided by its count.
        mean = np.where(a == 0, other.mean, np.where(b == 0, self.mean, mean))
        return Moments(
            count=self.count + other.count,
            mean=mean,
            m2=self.m2 + other.m2 + delta**2 * a * b / n,
            m3=self.m3
            + other.m3
            + delta**3 * a * b * (a - b) / n**2
            + 3 * delta * (a * other.m2 - b * self.m2) / n,
            m4=self.m4
            + other.m4
            + delta**4 * a * b * (a * a - a * b + b * b) / n**3
            + 6 * delta**2 * (a * a * other.m2 + b * b * self.m2) / n**2
            + 4 * delta * (a * other.m3 - b * self.m3) / n,
            min=np.minimum(self.min, other.min),
            max=np.maximum(self.max, other.max),
            zeros=self.zeros + other.zeros,
        )


@dataclass(frozen=True, kw_only=True)
class CoMoments:
    """Moments of pairs of columns over the rows that have both; each array float64 [F, F].

    `mean[i, j]` and `m2[i, j]` are of column i over the rows that have i and j.
    """

    count: np.ndarray
    mean: np.ndarray
    m2: np.ndarray
    product: np.ndarray

    @classmethod
    def of(cls, block: np.ndarray) -> CoMoments:
        """Return the co-moments of a block, float64 [rows, F], NaN for missing."""
        present = ~np.isnan(block)
        weight = present.astype(np.float64)
        total = np.where(present, block, 0.0).sum(axis=0)
        shift = total / np.maximum(weight.sum(axis=0), 1.0)
        centred = np.where(present, block - shift, 0.0)
        count = weight.T @ weight
        n = np.maximum(count, 1.0)
        sums = centred.T @ weight
        return cls(
            count=count,
            mean=np.where(count > 0, shift[:, None] + sums / n, 0.0),
            m2=(centred * centred).T @ weight - sums * sums / n,
            product=centred.T @ centred - sums * sums.T / n,
        )

    def merge(self, other: CoMoments) -> CoMoments:
        """Return the co-moments of both together."""
        a, b = self.count, other.count
        n = np.maximum(a + b, 1.0)
        delta = np.where((a > 0) & (b > 0), other.mean - self.mean, 0.0)
        return CoMoments(
            count=a + b,
            mean=(a * self.mean + b * other.mean) / n,
            m2=self.m2 + other.m2 + delta * delta * a * b / n,
            product=self.product + other.product + delta * delta.T * a * b / n,
        )

    def correlation(self) -> np.ndarray:
        """Return Pearson's r, float64 [F, F]; NaN where one of the pair is constant or missing."""
        # Rounding leaves a constant column a relative variance near 1e-31, while float32 values
        # that differ at all leave far more.
        spread = np.maximum(self.m2, 0.0)
        constant = spread <= self.count * (1e-14 * self.mean) ** 2
        scale = np.sqrt(spread * spread.T)
        defined = ~(constant | constant.T) & (scale > 0) & (self.count > 1)
        r = np.full(scale.shape, np.nan)
        np.divide(self.product, scale, out=r, where=defined)
        return np.clip(r, -1.0, 1.0)
