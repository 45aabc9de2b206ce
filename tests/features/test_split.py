"""The split is a function of key, label and seed, and divides each class as declared."""

import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from pipeline_assets.features.split import BINS, bin_sql, borders, split_counts, split_sql


def histogram(negative: int, positive: int, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return np.array(
        [
            np.bincount(random.integers(0, BINS, rows), minlength=BINS)
            for rows in (negative, positive)
        ]
    )


@given(st.integers(3, 60_000), st.integers(3, 60_000), st.integers(0, 9), st.floats(0.2, 0.7))
def test_every_class_is_divided_in_the_declared_shares(
    negative: int, positive: int, seed: int, train: float
) -> None:
    counts = histogram(negative, positive, seed)
    chosen = borders(counts, train=train, validation=0.15, stratify=True)
    parts = split_counts(counts, chosen)
    assert sum(map(sum, parts.values())) == negative + positive
    for label, rows in enumerate((negative, positive)):
        largest_bin = counts[label].max()
        assert abs(parts["train"][label] - train * rows) <= largest_bin / 2 + 1e-6
        both = parts["train"][label] + parts["validation"][label]
        assert abs(both - (train + 0.15) * rows) <= largest_bin / 2 + 1e-6


def test_label_rates_are_equal_within_a_4096th_of_the_rows() -> None:
    counts = histogram(800_000, 200_000)
    parts = split_counts(counts, borders(counts, train=0.7, validation=0.15, stratify=True))
    for negative, positive in parts.values():
        assert abs(positive - 0.2 * (negative + positive)) < 1_000_000 / 4096


def test_without_stratification_no_other_row_matters() -> None:
    few, many = histogram(10, 10), histogram(5000, 1, seed=4)
    chosen = [borders(each, train=0.7, validation=0.15, stratify=False) for each in (few, many)]
    assert chosen[0] == chosen[1]
    assert chosen[0].train == (2867, 2867)
    assert chosen[0].validation == (3482, 3482)


def test_sql_names_the_bins() -> None:
    counts = histogram(1000, 100)
    chosen = borders(counts, train=0.7, validation=0.15, stratify=True)
    sql = split_sql(chosen, bin_column="b", label_column="y")
    assert f"THEN {chosen.train[1]} ELSE {chosen.train[0]} END THEN 'train'" in sql
    assert "concat('-3:'" in bin_sql(-3)


def bin_of(row_id: int, seed: int) -> int:
    value = xxhash.xxh64_intdigest(f"{seed}:{row_id}".encode(), 42)
    return (value - 2**64 if value >= 2**63 else value) % BINS


def test_seeds_give_independent_splits() -> None:
    a, b = (np.array([bin_of(row, seed) for row in range(4000)]) for seed in (1, 2))
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.06
    assert abs((a < 2867).mean() - 0.7) < 0.03


@pytest.mark.parametrize("stratify", [True, False])
def test_an_empty_table_has_borders(stratify: bool) -> None:
    empty = np.zeros((2, BINS), dtype=np.int64)
    borders(empty, train=0.7, validation=0.15, stratify=stratify)
