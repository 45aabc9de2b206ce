"""Exact window sums of floating-point values: fixed-point limbs of 32 bits in wrapping prefix sums.

A sum of floats depends on the order of its terms, and a prefix sum on all that lies before the window.
Here a value is a sum of whole multiples of 2**96, 2**64, 2**32, 1, 2**-32, … (its limbs), and each limb
has a prefix sum of int64. Integers add up alike in any order, and the difference of two prefix sums is
right even if they wrapped around in between. So a window's sum depends on its values alone. Float64
values from 2**-12 to 2**62 are held without loss, smaller ones are rounded to whole multiples of 2**-64,
for squares too: what is added up is the same in both, and equal values have a deviation of zero.
"""

from dataclasses import dataclass

import numpy as np

LARGEST = 2.0**62
"""Values of this magnitude and beyond have no exact sum."""

_SUM_EXPONENTS = (32, 0, -32, -64)
_SQUARE_EXPONENTS = (96, 64, 32, 0, -32, -64, -96, -128)
_FINEST = 2.0**64
_SPLITTER = 2.0**27 + 1
_NEGLIGIBLE = 2.0**-90


@dataclass(frozen=True)
class DoubleDouble:
    """Unevaluated sums `high + low` of two float64 each: about 106 bits."""

    high: np.ndarray
    low: np.ndarray


class ExactSums:
    """Sums of values, or of their squares, over index ranges.

    >>> sums = ExactSums(np.array([1e12, 0.1, -1e12, 0.2]))
    >>> sums.between(np.array([0, 1]), np.array([3, 4])).high.tolist()
    [0.1, -999999999999.7]
    """

    def __init__(self, values: np.ndarray, *, squared: bool = False) -> None:
        """Take float64 [n] of finite values below `LARGEST` in magnitude."""
        self._exponents = _SQUARE_EXPONENTS if squared else _SUM_EXPONENTS
        held = np.rint(values * _FINEST) / _FINEST
        parts = list(_product(held, held)) if squared else [held]
        self._sums: list[np.ndarray | None] = []
        for exponent in self._exponents:
            limb = np.zeros(len(values), dtype=np.int64)
            for part in parts if any(part.any() for part in parts) else ():
                whole = np.rint(part * 2.0**-exponent)
                part -= whole * 2.0**exponent
                limb += whole.astype(np.int64)
            self._sums.append(prefix_sums(limb) if limb.any() else None)

    def between(self, start: np.ndarray, end: np.ndarray) -> np.ndarray:
        """Return the sums of the values `start[i]` to `end[i]` (excluded), float64 to within an ulp or two.

        Right for up to 2**30 values per range.
        """
        total = np.zeros(len(start))
        for limb, exponent in reversed(self._limbs(start, end)):
            total += limb * 2.0**exponent
        return total

    def precisely_between(self, start: np.ndarray, end: np.ndarray) -> DoubleDouble:
        """Return the same sums to 106 bits."""
        total = DoubleDouble(np.zeros(len(start)), np.zeros(len(start)))
        for limb, exponent in self._limbs(start, end):
            for half in (limb >> 32 << 32, limb & 0xFFFFFFFF):  # each exact as float64
                total = _add(total, half * 2.0**exponent)
        return total

    def _limbs(self, start: np.ndarray, end: np.ndarray) -> list[tuple[np.ndarray, int]]:
        """The sums as limbs with their exponents, highest first: all but the first below 2**31."""
        found: list[tuple[np.ndarray, int]] = []
        carry: np.ndarray | None = None
        for sums, exponent in zip(reversed(self._sums), reversed(self._exponents)):
            if sums is not None:
                limb = sums[end] - sums[start]
                limb = limb if carry is None else limb + carry
            elif carry is not None:
                limb = carry
            else:
                continue
            if exponent != self._exponents[0]:
                excess = (limb + 2**31) >> 32
                limb, carry = limb - (excess << 32), excess
            found.append((limb, exponent))
        return found[::-1]


def prefix_sums(counts: np.ndarray) -> np.ndarray:
    """Return int64 [n + 1]: at i the sum of the first i values, wrapping around."""
    sums = np.zeros(len(counts) + 1, dtype=np.int64)
    np.cumsum(counts, out=sums[1:])
    return sums


def sample_deviation(sums: DoubleDouble, squares: DoubleDouble, counts: np.ndarray) -> np.ndarray:
    """Return the sample standard deviation of `counts` values, NaN where there are fewer than two.

    From n times the sum of squares minus the squared sum, in 106 bits: what cancels is the ratio of mean
    to deviation, squared, so ratios up to about 2**40 leave more digits than float32 holds. What is
    less than rounding could make of equal values is zero.
    """
    number = counts.astype(np.float64)
    scaled = _multiply(squares, DoubleDouble(number, np.zeros_like(number)))
    square = _multiply(sums, sums)
    spread = _add(_add(scaled, -square.high), -square.low)
    rest = np.where(spread.high <= scaled.high * _NEGLIGIBLE, 0.0, spread.high)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(counts > 1, np.sqrt(rest / (number * (number - 1))), np.nan)


def _two_sum(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    total = a + b
    rest = total - a
    return total, (a - (total - rest)) + (b - rest)


def _product(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the rounded product and its rounding error (Dekker)."""
    product = a * b
    a_high = a * _SPLITTER
    a_high = a_high - (a_high - a)
    a_low = a - a_high
    b_high = b * _SPLITTER
    b_high = b_high - (b_high - b)
    b_low = b - b_high
    error = a_low * b_low - (((product - a_high * b_high) - a_low * b_high) - a_high * b_low)
    return product, error


def _add(a: DoubleDouble, b: np.ndarray) -> DoubleDouble:
    high, low = _two_sum(a.high, b)
    return DoubleDouble(*_two_sum(high, low + a.low))


def _multiply(a: DoubleDouble, b: DoubleDouble) -> DoubleDouble:
    high, low = _product(a.high, b.high)
    return DoubleDouble(*_two_sum(high, low + (a.high * b.low + a.low * b.high)))
