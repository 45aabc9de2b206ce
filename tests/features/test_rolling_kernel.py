"""The kernel against its definition, and what its results must not depend on."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import SECOND, events, expected, group

from pipeline_assets.features.rolling.kernel import rolling_features
from pipeline_assets.features.rolling.plan import RollingGroup, Window

VALUES = st.one_of(
    st.none(),
    st.sampled_from([0.0, 0.1, -0.1, 29.99, 1e-9, 1e11 + 0.25, -1e11]),
    st.floats(-1e6, 1e6, allow_subnormal=False),
)
ROWS = st.lists(
    st.tuples(
        st.integers(0, 40),
        st.sampled_from(["a", "b", None]),
        VALUES,
        st.sampled_from(["x", "y", "z", None]),
        st.sampled_from([0.0, 1.0, None]),
        st.booleans(),
    ),
    max_size=40,
)


def compute(rows: list, plan: RollingGroup) -> np.ndarray:
    return rolling_features(events(rows), plan, np.arange(len(rows)))


@given(
    rows=ROWS,
    delay=st.sampled_from([0, 2]),
    counted=st.sampled_from([None, "counted"]),
    empty=st.sampled_from([None, 0.0]),
    data=st.data(),
)
@settings(max_examples=150, deadline=None)
def test_equals_the_definition(rows, delay, counted, empty, data) -> None:
    plan = group(delay=delay, counted=counted, empty=empty)
    kept = data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows)))
    targets = np.flatnonzero(np.array(kept, dtype=bool))
    found = rolling_features(events(rows), plan, targets)
    want = expected(events(rows), plan, targets)
    largest = max((abs(row[2]) for row in rows if row[2] is not None), default=0)
    for window, ours, theirs in zip(plan.windows, found, want):
        # Values are held to 2**-65, 40 of them at most; of a deviation 45 bits below the values nothing is left.
        tolerance = 2**-59 + (largest * 2**-44 if window.function == "std" else 0)
        np.testing.assert_allclose(ours, theirs, rtol=3e-7, atol=tolerance, err_msg=window.name)


@pytest.mark.parametrize("value", [1.1176118616522476e-08, 3e-15, 0.1, 1e11 + 0.25])
def test_equal_values_have_no_deviation(value) -> None:
    plan = group()
    found = compute([(second, "a", value, "x", 0.0, True) for second in range(5)], plan)
    deviation = [window.function == "std" and window.length > SECOND for window in plan.windows]
    assert found[deviation][:, 1:].tolist() == [[0.0] * 4] * 2


@given(rows=ROWS, delay=st.sampled_from([0, 2]))
@settings(max_examples=100, deadline=None)
def test_an_event_sees_what_was_known_at_its_time_and_nothing_else(rows, delay) -> None:
    """Bit for bit: the whole table, or what was known then; labels younger than the delay were not."""
    plan = group(delay=delay, label_delay=3)
    whole = compute(rows, plan)
    for position, (now, *_) in enumerate(rows):
        known = [
            (t, who, value, thing, label if t <= now - delay - 3 else None, counted)
            for t, who, value, thing, label, counted in rows
            if t <= now
        ]
        at = sum(row[0] <= now for row in rows[:position])
        then = rolling_features(events(known), plan, np.array([at]))
        assert then[:, 0].tobytes() == whole[:, position].tobytes()


@given(rows=ROWS, seed=st.integers(0, 100))
@settings(max_examples=60, deadline=None)
def test_the_order_of_rows_older_history_and_others_do_not_matter(rows, seed) -> None:
    plan = group()
    whole = compute(rows, plan)
    shuffled = np.random.default_rng(seed).permutation(len(rows))
    older = [(t - 100, "a", 0.7, "x", 1.0, True) for t in range(9)]
    others = [(t, "other", 3.3, "x", 1.0, True) for t in range(9)]
    mixed = [*older, *(rows[i] for i in shuffled), *others]
    found = rolling_features(events(mixed), plan, 9 + np.argsort(shuffled))
    assert found.tobytes() == whole.tobytes()


def test_events_of_the_same_instant_are_in_the_window_but_not_the_last_one() -> None:
    rows = [(5, "a", 1.0, "x", 1.0, True), (5, "a", 2.0, "y", 0.0, True)]
    plan = group((10,), label_delay=0)
    found = dict(zip(plan.names, compute(rows, plan)))
    assert found["count_10"].tolist() == [2, 2]
    assert found["sum_10"].tolist() == [3, 3]
    assert found["distinct_count_10"].tolist() == [2, 2]
    assert np.isnan(found["time_since_last_10"]).all()


def test_the_window_is_open_at_its_start_and_closed_at_its_end() -> None:
    rows = [(t, "a", 1.0, "x", 1.0, True) for t in (0, 7, 10)]
    plan = group((10,), label_delay=3)
    found = dict(zip(plan.names, compute(rows, plan)))
    assert found["count_10"].tolist() == [1, 2, 2]
    assert found["label_rate_10"].tolist()[1:] == [1, 1]
    assert np.isnan(found["label_rate_10"][0])


def test_a_day_has_24_hours_where_clocks_change() -> None:
    """From 2026-03-28 12:00 to 2026-03-29 12:00 in Berlin it is 23 hours: the event is inside."""
    utc = [1774695600, 1774778400, 1774782000]  # 11:00 UTC, then 10:00 and 11:00 the day after
    day = Window(name="n", function="count", value=None, length=86_400 * SECOND, delay=0)
    plan = RollingGroup(entity=("who",), counted=None, windows=(day,))
    found = compute([(t, "a", None, None, None, True) for t in utc], plan)
    assert found[0].tolist() == [1, 2, 2]


def test_infinite_and_huge_values_make_windows_infinite() -> None:
    rows = [
        (0, "a", float("inf"), None, None, True),
        (1, "a", 2.0**62, None, None, True),
        (9, "a", 5.0, None, None, True),
    ]
    plan = group((10, 5))
    found = dict(zip(plan.names, compute(rows, plan)))
    for function in ("sum", "mean", "std"):
        assert np.isposinf(found[f"{function}_10"][1:]).all()
    assert found["sum_5"].tolist()[2] == 5
    assert found["min_10"].tolist() == [np.inf, 2.0**62, 5]


def test_deviation_next_to_a_large_mean() -> None:
    random = np.random.default_rng(3)
    small = random.normal(0, 1e-3, 1000)
    rows = [(t, "a", 1e9 + v, None, None, True) for t, v in enumerate(small)]
    plan = group((100,))
    found = dict(zip(plan.names, compute(rows, plan)))["std_100"]
    shifted = np.array([row[2] for row in rows]) - 1e9
    want = [shifted[max(0, i - 99) : i + 1].std(ddof=1) for i in range(1, 1000)]
    np.testing.assert_allclose(found[1:], want, rtol=1e-6)
    constant = [(t, "a", 0.1, None, None, True) for t in range(50)]
    assert dict(zip(plan.names, compute(constant, plan)))["std_100"][1:].tolist() == [0] * 49


def test_many_entities_over_a_long_time_exceed_one_block_of_keys() -> None:
    """300 entities over 900 years do not fit 62 bits together."""
    random = np.random.default_rng(1)
    century = 100 * 365 * 86_400
    rows = [
        (int(t) * century + int(s), f"e{who}", 1.5, "x", 1.0, True)
        for t, s, who in zip(
            random.integers(-3, 6, 1500),
            random.integers(0, 20, 1500),
            random.integers(0, 300, 1500),
        )
    ]
    plan = group()
    targets = np.arange(0, 1500, 7)
    np.testing.assert_allclose(
        rolling_features(events(rows), plan, targets),
        expected(events(rows), plan, targets),
        rtol=3e-7,
    )


@pytest.mark.parametrize("count", [0, 1])
def test_none_and_one_event(count: int) -> None:
    plan = group()
    rows = [(3, "a", 2.5, "x", 1.0, True)][:count]
    found = compute(rows, plan)
    np.testing.assert_array_equal(found, expected(events(rows), plan, np.arange(count)))


def test_an_entity_with_a_million_events() -> None:
    count = 1_000_000
    times = np.random.default_rng(0).permutation(count)
    table = pa.table(
        {
            "_time": times * SECOND,
            "who": pa.array(np.zeros(count, np.int64)),
            "value": times % 10 + 0.25,
            "thing": pa.array(times % 7),
            "label": (times % 10 == 0).astype(np.float64),
        }
    )
    plan = group((100_000,), label_delay=10)
    found = dict(zip(plan.names, rolling_features(table, plan, np.arange(count))))
    full = np.flatnonzero(times >= 100_010)
    assert (found["count_100000"][full] == 100_000).all()
    assert (found["sum_100000"][full] == 100_000 * 4.75).all()
    assert (found["distinct_count_100000"][full] == 7).all()
    assert (found["min_100000"][full] == 0.25).all()
    np.testing.assert_allclose(found["label_rate_100000"][full], 0.1, rtol=1e-6)
    np.testing.assert_allclose(found["std_100000"][full], 2.8722957, rtol=1e-6)
