# ruff: noqa: RUF001 (look-alike characters are the point)
"""The compiled SQL against pandera, rule by rule and row by row, on random frames of awkward text."""

import sys
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))

from raw_versions import sql_verdicts

from pipeline_assets.contract.pandera_schema import pandera_verdicts
from pipeline_assets.spec.contract import Column, Contract, RowRule

CONTRACT = Contract(
    key=["id"],
    columns=[
        Column(name="id", type="int64", max_length=None),
        Column(name="small", type="int32", nullable=True, min=-3.5, max=10),
        Column(name="level", type="int64", allowed=[1, 2, 3], severities={"type": "warn"}),
        Column(name="score", type="float64", min=-1.5, max=100),
        Column(name="ratio", type="float32", nullable=True, max=0.1, severities={"finite": "warn"}),
        Column(name="rate", type="float64", allowed=[0.5, 1, 2.25], severities={"finite": "warn"}),
        Column(name="active", type="boolean"),
        Column(name="member", type="boolean", nullable=True, allowed=[True]),
        Column(name="born", type="date", min="1900-01-01", max="2020-02-29"),
        Column(name="seen", type="timestamp", nullable=True, min="2000-01-01T00:00:00+02:00"),
        Column(
            name="code", type="string", pattern=r"[A-Z]\d{2}|\w+\s.$", max_length=4, severity="warn"
        ),
        Column(name="It's a `name`".replace("`", "´"), type="string", allowed=["a'b", "a\\b", "é"]),
    ],
    rows=[
        RowRule(name="level_below_id", expression="level <= id"),
        RowRule(name="born_before_2000", expression="born < date '2000-01-01'", severity="warn"),
        RowRule(name="quoted", expression="`It's a ´name´` <> 'é'"),
    ],
)
ROW_RULES = {
    "level_below_id": lambda frame: frame["level"] <= frame["id"],
    "born_before_2000": lambda frame: (frame["born"] < pd.Timestamp(2000, 1, 1)).where(
        frame["born"].notna(), True
    ),
    "quoted": lambda frame: frame["It's a ´name´"] != "é",
}
NUMBERS = [
    "0", "1", "2", "3", "10", "11", "-3", "-4", "+7", " 12 ", "\t3\r\n", "3.7", "3.0", "3.", ".", "-",
    "1e3", "1E-2", ".5", "0.5", "2.25", "0.1", "-1.5", "-1.51", "100", "100.0000001", "1_000", "0x10",
    "1.5f", "1d", "nan", "NaN", "-nan", " NaN ", "inf", "-Infinity", "+INF", "1e400", "-1e400", "1e39",
    "3.4028235e38", "3.4028236e38", "1e-400", "2147483647", "2147483648", "-2147483649", "",
    "9223372036854775807", "9223372036854775808", "-9223372036854775808", "\x0112", "12\x7f", "١٢",
    "12\u00a0", "--1", "1-2", "e5", "+", "00012", "-0", "99999999999999999999999.0", "- 1",
]  # fmt: skip
BOOLEANS = [
    "true", "false", "TRUE", "Yes", "no", "Y", "n", "t", "F", "1", "0", "on", "2", "1.0", " true ",
    "", "tru", "truе",
]  # fmt: skip
DATES = [
    "2020-02-29", "2020-02-30", "1900-01-01", "1899-12-31", "1999-12-31", "2000-01-01", "0000-01-01",
    "0001-01-01", "9999-12-31", "2020-1-1", "10000-01-01", " 2010-05-05 ", "2010-05-05T00:00:00",
    "05.05.2010", "٢٠١٠-٠٥-٠٥", "2010-13-01", "20100505", "-2010-05-05", "",
]  # fmt: skip
MOMENTS = [
    "2020-01-01T00:00:00Z", "2020-01-01 00:00:00", "2020-01-01T10:30", "2020-01-01T10:30Z",
    "2020-01-01T10:30+05:30", "2020-01-01T10:30:15.1234567-0800", "1999-12-31T21:59:59.999999Z",
    "1999-12-31T22:00:00Z", "2000-01-01T00:00:00+0200", "2000-01-01T00:00:00+03", "2020-01-01",
    "1999-12-31", "2020-01-01T24:00:00", "2020-01-01T23:59:60Z", "2020-01-01T10:30:00+18:00",
    "2020-01-01T10:30:00+17:59", "2020-01-01T10:30:00+05:60", "0001-01-01T00:00:00+01:00",
    "9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59-01:00", "2020-01-01T1:30:00",
    "2020-01-01Z", "2020-01-01t10:30:00z", "2020-02-30T00:00:00Z", "2020-01-01T10:30:00.1234567890Z",
    "2020-01-01  10:30:00", "now", "", "2020-01-01T10:30:00 Z", "2021-06-01T00:00:00.000001Z",
]  # fmt: skip
TEXTS = [
    "A12", "A12\n", "a12", "A123", "x y", "xy \t", "a'b", "a\\b", "é", "\U0001f600\U0001f600", "", " ",
    "x\u2028y", "ab \u2028", "a \n", "A١٢", "null", "b" * 10_000, "a\x00b".replace("\x00", "0"),
]  # fmt: skip


def texts(samples):
    alphabet = "".join(sorted(set("".join(samples)) - set("b")))[:60]
    free = st.text(alphabet=alphabet or "ab", max_size=6)
    return st.one_of(st.none(), st.sampled_from(samples), st.sampled_from(samples), free)


ROW = st.tuples(
    *[texts(NUMBERS)] * 6, *[texts(BOOLEANS)] * 2, texts(DATES), texts(MOMENTS), *[texts(TEXTS)] * 2
)


@pytest.mark.filterwarnings("ignore")
@settings(
    max_examples=12,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(rows=st.lists(ROW, min_size=1, max_size=25))
def test_random_rows_get_the_same_verdicts(engine, rows):
    frame = pd.DataFrame(rows, columns=CONTRACT.names, dtype=object)
    expected = [broken - {"unique_key"} for broken in pandera_verdicts(CONTRACT, frame, ROW_RULES)]
    assert sql_verdicts(engine, CONTRACT, frame) == expected


@pytest.mark.filterwarnings("ignore")
def test_every_awkward_text_gets_the_same_verdicts(engine):
    samples = [NUMBERS] * 6 + [BOOLEANS] * 2 + [DATES, MOMENTS] + [TEXTS] * 2
    rows = [
        [column[at] if at < len(column) else None for column in samples]
        for at in range(max(map(len, samples)))
    ]
    frame = pd.DataFrame(rows, columns=CONTRACT.names, dtype=object)
    expected = pandera_verdicts(CONTRACT, frame, ROW_RULES)
    found = sql_verdicts(engine, CONTRACT, frame)
    for row, ours, theirs in zip(rows, found, expected, strict=True):
        assert ours == theirs - {"unique_key"}, row
