"""The catalogue of products as lines of CSV, with bad ones between them."""

from dataclasses import dataclass

import numpy as np

from pipeline_assets.demo_data.rows import Rows, by_turns, counted
from pipeline_assets.demo_data.shop.products import CATEGORIES, Products

COLUMNS = ("product_id", "category", "brand", "price", "rating")

KINDS = ("malformed_line", "negative_price", "duplicate_key")
"""Kinds of bad lines in the order in which they take turns.

- `malformed_line`: without price and rating.
- `negative_price`: of a product of its own, whose id begins with X.
- `duplicate_key`: the product of the line before, at another price.
"""


@dataclass(frozen=True, kw_only=True)
class _Lines(Rows):
    id: np.ndarray
    category: np.ndarray
    brand: np.ndarray
    price: np.ndarray
    rating: np.ndarray
    cut: np.ndarray

    def text(self) -> str:
        lines = [",".join(COLUMNS)]
        for *fields, rating, cut in zip(*[column.tolist() for column in vars(self).values()]):
            texts = [*map(str, fields), "" if np.isnan(rating) else str(rating)]
            lines.append(",".join(texts[:3] if cut else texts))
        return "".join(f"{line}\n" for line in lines)


def catalogue_lines(
    products: Products, *, bad_share: float, rng: np.random.Generator
) -> tuple[str, int, dict[str, int]]:
    """The file of all products that the catalogue lists.

    Args:
        products: all products.
        bad_share: bad lines on top, as a share of the products listed.
        rng: source of randomness.

    Returns:
        The lines, the number of products listed, and the number of bad lines by kind.
    """
    listed = np.flatnonzero(products.listed)
    count = len(listed)
    valid = _Lines(
        id=products.id[listed],
        category=CATEGORIES[products.category[listed]],
        brand=products.brand[listed],
        price=products.price[listed],
        rating=products.rating[listed],
        cut=np.zeros(count, bool),
    )
    after = rng.integers(0, max(1, count), round(bad_share * count))
    of = by_turns(KINDS, np.arange(len(after)))
    row = valid.take(after)
    own_id = np.array([f"X{number:06d}" for number in range(len(after))], dtype=str)
    bad = _Lines(
        id=np.where(of["negative_price"], own_id, row.id),
        category=row.category,
        brand=row.brand,
        price=np.where(of["negative_price"], -row.price, np.round(row.price + 1, 2)),
        rating=row.rating,
        cut=of["malformed_line"],
    )
    return valid.with_copies(bad, after).text(), count, counted(of)
