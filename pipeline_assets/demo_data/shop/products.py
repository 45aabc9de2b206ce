"""What the shop sells, and how often it is shown."""

from dataclasses import dataclass

import numpy as np

CATEGORIES = np.array(
    ["books", "electronics", "fashion", "games", "garden", "groceries", "sports", "travel"]
)
_BRANDS = 40
_PRICE_MEDIAN, _PRICE_LOG_STD = 25.0, 0.9


@dataclass(frozen=True, kw_only=True)
class Products:
    """Arrays [products]."""

    id: np.ndarray
    """str, e.g. P000017."""
    category: np.ndarray
    """int64, index of CATEGORIES."""
    brand: np.ndarray
    """str."""
    price: np.ndarray
    """float64, EUR."""
    rating: np.ndarray
    """float64, 1 to 5, NaN where nobody has rated the product yet."""
    popularity: np.ndarray
    """float64, share of the impressions."""
    listed: np.ndarray
    """bool, False where the product is missing in the catalogue."""


def draw_products(
    rng: np.random.Generator, count: int, *, unlisted_share: float, shift: float
) -> Products:
    """Draw products.

    Args:
        rng: source of randomness; always the same draws, whatever the shift.
        count: how many.
        unlisted_share: share that is missing in the catalogue.
        shift: moves the logarithm of prices by so many standard deviations.
    """
    weight = 1 / np.sqrt(1 + rng.permutation(count))
    log_price = rng.standard_normal(count) + shift
    rating = np.clip(np.round(3.9 + 0.6 * rng.standard_normal(count), 1), 1, 5)
    return Products(
        id=np.array([f"P{number:06d}" for number in range(1, count + 1)]),
        category=rng.integers(0, len(CATEGORIES), count),
        brand=np.array([f"Brand {number:02d}" for number in range(1, _BRANDS + 1)])[
            rng.integers(0, _BRANDS, count)
        ],
        price=np.round(np.maximum(_PRICE_MEDIAN * np.exp(_PRICE_LOG_STD * log_price), 0.5), 2),
        rating=np.where(rng.random(count) < 0.05, np.nan, rating),
        popularity=weight / weight.sum(),
        listed=rng.random(count) >= unlisted_share,
    )
