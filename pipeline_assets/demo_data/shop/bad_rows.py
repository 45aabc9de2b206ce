"""What is wrong with the bad rows of impressions: one thing each, so that counts are known."""

import numpy as np

from pipeline_assets.demo_data.rows import (
    DAY_SECONDS,
    FIRST_ID_STEP,
    MISSING,
    by_turns,
    counted,
)
from pipeline_assets.demo_data.shop.columns import Impressions

KINDS = (
    "null_entity",
    "unknown_label",
    "out_of_range",
    "outside_day",
    "null_time",
    "duplicate_in_day",
)
"""Kinds in the order in which they take turns.

- `null_entity`: by turns no user and no product.
- `unknown_label`: neither 0 nor 1.
- `out_of_range`: position 0.
- `outside_day`: of the day after, not of the file's.
- `duplicate_in_day`: the id of a valid row further up in the file.
"""


def spoil(
    valid: Impressions, *, day: int, indices: range, rng: np.random.Generator
) -> tuple[Impressions, dict[str, int]]:
    """Put bad rows between valid ones: copies with an id of their own and one mistake.

    Args:
        valid: rows in order of time. Where there are none, there are no bad rows either.
        day: its number.
        indices: numbers of the bad rows; the kinds take turns by number.
        rng: source of randomness.

    Returns:
        All rows, each bad one after the row that it copies, and the number of bad rows by kind.
    """
    if not len(valid) or not len(indices):
        return valid, {}
    numbers = np.asarray(indices)
    turn, of = numbers // len(KINDS), by_turns(KINDS, numbers)
    after = rng.integers(0, len(valid), len(numbers))
    row = valid.take(after)
    earlier = valid.id[rng.integers(0, after + 1)]
    own = day * FIRST_ID_STEP + len(valid) + np.arange(len(numbers))
    no_entity = of["null_entity"]
    bad = Impressions(
        id=np.where(of["duplicate_in_day"], earlier, own),
        seconds=row.seconds + DAY_SECONDS * of["outside_day"],
        user=np.where(no_entity & (turn % 2 == 0), MISSING, row.user),
        product=np.where(no_entity & (turn % 2 == 1), MISSING, row.product),
        position=np.where(of["out_of_range"], 0, row.position),
        clicked=np.where(of["unknown_label"], 2, row.clicked),
        no_time=of["null_time"],
    )
    return valid.with_copies(bad, after), counted(of)
