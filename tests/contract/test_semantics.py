"""Mistakes in a contract, each found at its place."""

import pytest

from pipeline_assets.contract.expressions import rule_expressions
from pipeline_assets.contract.patterns import PatternError, portable_pattern
from pipeline_assets.contract.rules import integer_bounds
from pipeline_assets.contract.semantics import contract_problems
from pipeline_assets.spec.contract import Column, Contract, RowRule, TableRules


def problems(columns=(), key=("id",), rows=(), **table):
    contract = Contract(
        key=list(key),
        columns=[Column(name="id", type="int64"), *columns],
        rows=[RowRule(name=name, expression=expression) for name, expression in rows],
        table=TableRules(**table),
    )
    return [
        (found.path[1:], found.message, found.suggestion) for found in contract_problems(contract)
    ]


def test_a_sound_contract_has_none():
    columns = [
        Column(name="n", type="int32", min=-1.5, max=7, allowed=[1, "2"], nullable=True),
        Column(name="d", type="date", min="2020-01-01", max="2020-01-01"),
        Column(name="t", type="timestamp", min="2020-01-01", max="2020-01-01T00:00:00.1Z"),
        Column(name="s", type="string", pattern=r"^\d{3}-[A-Z\s]+$", max_length=9),
        Column(name="b", type="boolean", allowed=[True, "yes"]),
    ]
    rows = [("small", "n < 3 OR s LIKE 'a%'"), ("past", "d <= DATE '2030-01-01'")]
    assert problems(columns, rows=rows, max_null_share={"n": 0.5}) == []


@pytest.mark.parametrize("bound", [2**53 + 1, str(2**53 + 1)])
def test_integer_bounds_beyond_what_floats_hold_are_exact(bound):
    column = Column.model_validate({"name": "n", "type": "int64", "min": bound, "max": bound})
    assert integer_bounds(column) == (2**53 + 1, 2**53 + 1)
    contract = Contract(key=["id"], columns=[Column(name="id", type="string"), column])
    (sql,) = [sql for rule, sql in rule_expressions(contract).flags if rule.name == "n.range"]
    assert sql.count("9007199254740993") == 2


@pytest.mark.parametrize(
    ("column", "path", "message"),
    [
        ({"type": "int32", "min": 5, "max": 4}, "min", "greater than max"),
        ({"type": "int32", "min": 3.2, "max": 3.8}, "min", "no int32 lies between"),
        ({"type": "int32", "min": 3e9}, "min", "no int32 lies between"),
        ({"type": "int64", "min": 2**53 + 1, "max": 2**53}, "min", "greater than max"),
        ({"type": "int64", "max": -(10**400)}, "max", "no finite number"),
        ({"type": "float64", "max": "wide"}, "max", "no finite number"),
        ({"type": "float64", "max": float("inf")}, "max", "no finite number"),
        ({"type": "string", "min": 1}, "min", "a string has no range"),
        ({"type": "date", "min": "01.02.2020"}, "min", "is no date"),
        ({"type": "timestamp", "min": "2020-02-01", "max": "2020-01-31"}, "min", "greater than"),
        ({"type": "int32", "allowed": [1, 2.5]}, "allowed", "2.5 is no int32"),
        ({"type": "string", "allowed": ["a", True]}, "allowed", "YAML reads it as bool"),
        ({"type": "string", "allowed": []}, "allowed", "no value is allowed"),
        ({"type": "float64", "allowed": [1, None]}, "allowed", "null is no allowed value"),
        ({"type": "int32", "pattern": "[0-9]+"}, "pattern", "applies to text"),
        ({"type": "string", "pattern": "[0-9"}, "pattern", "not a regular expression"),
        ({"type": "string", "pattern": "(?=a)b"}, "pattern", "look-around"),
        ({"type": "date", "max_length": 3}, "max_length", "applies to text"),
        ({"type": "string", "severities": {"range": "warn"}}, "severities", "no rule 'range'"),
    ],
)
def test_column_mistakes(column, path, message):
    ((where, what, _),) = problems([Column(name="c", **column)])
    assert where[:3] == ("columns", 1, path) and message in what


def test_key_mistakes():
    ((where, _, hint),) = problems(key=("ID",))
    assert where == ("key", 0) and hint == "did you mean 'id'?"
    assert "twice" in problems(key=("id", "id"))[0][1]
    assert "float64" in problems([Column(name="f", type="float64")], key=("id", "f"))[0][1]
    nullable = Column(name="k", type="string", nullable=True)
    assert "cannot be missing" in problems([nullable], key=("k",))[0][1]
    warned = Column(name="k", type="int64", severity="warn")
    assert len(problems([warned], key=("k",))) == 2


@pytest.mark.parametrize(
    ("expression", "message", "hint"),
    [
        ("agee > 3", "no column 'agee'", "did you mean 'Age'?"),
        ("Age >", "expected a value", None),
        ("max(Age) > 3", "needs other rows", "use greatest() and least()"),
        ("Age < year(now())", "calls now: its value differs from run to run", None),
        ("Age < year(CURRENT_DATE)", "calls current_date: its value differs", None),
        ("Age < unix_timestamp()", "differs", "use to_unix_timestamp() with a column"),
        ("explode(array(Age)) > 1", "several rows", None),
        ("sum(Age) OVER (PARTITION BY id) > 3", "window functions", None),
        ("rand() < Age", "calls rand: its value differs from run to run", None),
        ("1 = 1", "names no column", None),
    ],
)
def test_row_rule_mistakes(expression, message, hint):
    ((where, what, suggestion),) = problems(
        [Column(name="Age", type="int32")], rows=[("odd", expression)]
    )
    assert where == ("rows", 0, "expression") and message in what and suggestion == hint


def test_names_and_table_mistakes():
    assert "is reserved" in problems([Column(name="_row_id", type="int64")])[0][1]
    assert "differ in case only" in problems([Column(name="ID", type="int64")])[0][1]
    assert "is taken" in problems(rows=[("a", "id > 1"), ("a", "id > 2")])[0][1]
    assert "is taken" in problems(rows=[("unique_key", "id > 1")])[0][1]
    assert "greater than max_rows" in problems(min_rows=5, max_rows=4)[0][1]
    found = problems(max_null_share={"idd": 0.1, "id": 1.5})
    assert [where[2] for where, _, _ in found] == ["idd", "id"]


@pytest.mark.parametrize(
    "pattern", [r"\p{L}", r"(a)\1", "a++", "a{2}+", "(?i)a", "[a&&b]", "[[a]", "[]a]", "a\\"]
)
def test_patterns_that_engines_read_differently_are_refused(pattern):
    with pytest.raises(PatternError):
        portable_pattern(pattern)
