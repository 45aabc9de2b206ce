"""Which part of the data a row belongs to: a function of its key, its label and the split's seed.

A row's bin is `pmod(xxhash64("<seed>:<row id>"), 4096)`. Training takes the low bins, validation
the next, test the rest. Unstratified, the borders are the same bins for every row, so a row keeps
its part whatever other rows there are. Stratified, each label class has its own borders, found in
one histogram of the classes over the bins, such that each class is divided in the declared shares
within half a bin (about 1/8192 of its rows; where a class has fewer rows than bins, about a row).
Both depend on the set of rows at most, never on their order, the engine or the number of tasks.
"""

from dataclasses import dataclass

import numpy as np

BINS = 4096
"""Hash bins of the split."""

SPLITS = ("train", "validation", "test")
"""The parts, in the order of the bins."""


@dataclass(frozen=True, kw_only=True)
class Borders:
    """Where the parts end, per label class (index 0: negative, 1: positive)."""

    train: tuple[int, int]
    """First bin that is not training, 0 to 4096."""
    validation: tuple[int, int]
    """First bin that is neither training nor validation, 0 to 4096."""


def bin_sql(seed: int, row_id: str = "_row_id") -> str:
    """Return the SQL expression of a row's bin, an integer from 0 to 4095.

    The hash is taken over text, so that it does not depend on how an engine hashes numbers.
    """
    return f"CAST(pmod(xxhash64(concat('{seed:d}:', CAST({row_id} AS STRING))), {BINS}) AS INT)"


def borders(histogram: np.ndarray, *, train: float, validation: float, stratify: bool) -> Borders:
    """Choose the borders.

    Args:
        histogram: int64 [2, 4096], rows per label class and bin.
        train: share of training rows.
        validation: share of validation rows.
        stratify: divide each class in these shares; otherwise the same bins for all.
    """
    shares = (train, train + validation)
    if stratify:
        first, second = (
            tuple(_border(histogram[label], share) for label in (0, 1)) for share in shares
        )
    else:
        first, second = ((round(share * BINS),) * 2 for share in shares)
    return Borders(train=(first[0], first[1]), validation=(second[0], second[1]))


def _border(counts: np.ndarray, share: float) -> int:
    """Return the border below which the rows come nearest to `share` of all."""
    below = np.concatenate([[0], np.cumsum(counts)])
    return int(np.argmin(np.abs(below - share * below[-1])))


def split_sql(chosen: Borders, *, bin_column: str, label_column: str) -> str:
    """Return the SQL expression of a row's part: 'train', 'validation' or 'test'."""

    def border(of: tuple[int, int]) -> str:
        return f"CASE WHEN {label_column} = 1 THEN {of[1]} ELSE {of[0]} END"

    return (
        f"CASE WHEN {bin_column} < {border(chosen.train)} THEN 'train' "
        f"WHEN {bin_column} < {border(chosen.validation)} THEN 'validation' ELSE 'test' END"
    )


def split_counts(histogram: np.ndarray, chosen: Borders) -> dict[str, tuple[int, int]]:
    """Return {part: (negative rows, positive rows)}; the histogram knows them already."""
    edges = [(0, 0), chosen.train, chosen.validation, (BINS, BINS)]
    return {
        name: (
            int(histogram[0, edges[index][0] : edges[index + 1][0]].sum()),
            int(histogram[1, edges[index][1] : edges[index + 1][1]].sum()),
        )
        for index, name in enumerate(SPLITS)
    }
