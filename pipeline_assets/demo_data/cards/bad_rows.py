"""What is wrong with the bad rows of card transactions: one thing each, so that counts are known."""

from collections.abc import Callable

import numpy as np

from pipeline_assets.demo_data.cards.columns import Payments
from pipeline_assets.demo_data.rows import (
    DAY_SECONDS,
    FIRST_ID_STEP,
    MISSING,
    by_turns,
    counted,
)

KINDS = (
    "null_entity",
    "negative_amount",
    "outside_day",
    "before_start",
    "future",
    "null_time",
    "duplicate_in_day",
    "duplicate_across_days",
)
"""Kinds in the order in which they take turns.

- `null_entity`: by turns no customer and no terminal.
- `outside_day`: of the day before (on the first day of the day after), not of the file's.
- `before_start`: up to a year before the simulation.
- `future`: a century after the file's day.
- `duplicate_in_day`: the id of a valid row further up in the file.
- `duplicate_across_days`: the id of a valid row of the day before; on the first day, and after a day
  without any, `duplicate_in_day` takes its turn.
"""

_CENTURY_DAYS = 36_525


def spoil(
    payments: Payments,
    *,
    day: int,
    indices: range,
    earlier_rows: Callable[[], int],
    rng: np.random.Generator,
) -> tuple[Payments, dict[str, int]]:
    """Put bad rows between valid ones: copies with an id of their own and one mistake.

    Args:
        payments: the valid rows in order of time. Where there are none, there are no bad rows either.
        day: its number.
        indices: numbers of the bad rows; the kinds take turns by number.
        earlier_rows: tells how many valid rows the day before has; asked when it matters.
        rng: source of randomness.

    Returns:
        All rows, each bad one after the row that it copies, and the number of bad rows by kind.
    """
    if not len(payments) or not len(indices):
        return payments, {}
    numbers = np.asarray(indices)
    turn, of = numbers // len(KINDS), by_turns(KINDS, numbers)
    before = earlier_rows() if day and of["duplicate_across_days"].any() else 0
    if not before:
        of["duplicate_in_day"] |= of["duplicate_across_days"]
        of["duplicate_across_days"] = np.zeros(len(numbers), bool)
    after = rng.integers(0, len(payments), len(numbers))
    row = payments.take(after)
    # Always the same draws, whatever the kinds are.
    days_back = rng.integers(1, 366, len(numbers))
    earlier, other_day = rng.integers(0, after + 1), rng.random(len(numbers))
    ids = day * FIRST_ID_STEP + len(payments) + np.arange(len(numbers))
    ids = np.where(of["duplicate_in_day"], payments.id[earlier], ids)
    of_day_before = (day - 1) * FIRST_ID_STEP + (other_day * before).astype(np.int64)
    ids = np.where(of["duplicate_across_days"], of_day_before, ids)
    days = np.select(
        [of["outside_day"], of["before_start"], of["future"]],
        [-1 if day else 1, -day - days_back, _CENTURY_DAYS],
        0,
    )
    no_entity = of["null_entity"]
    bad = Payments(
        id=ids,
        seconds=row.seconds + days * DAY_SECONDS,
        customer=np.where(no_entity & (turn % 2 == 0), MISSING, row.customer),
        terminal=np.where(no_entity & (turn % 2 == 1), MISSING, row.terminal),
        amount=np.where(of["negative_amount"], -np.maximum(row.amount, 0.01), row.amount),
        scenario=row.scenario,
        no_time=of["null_time"],
    )
    return payments.with_copies(bad, after), counted(of)
