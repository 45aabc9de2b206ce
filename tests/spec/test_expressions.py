"""Columns that SQL expressions name."""

import pytest

from pipeline_assets.spec.expressions import ExpressionError, columns_of, functions_of


@pytest.mark.parametrize(
    ("expression", "columns"),
    [
        ("a + b * -c % 2", "a b c"),
        ("NOT a IS NULL AND b IN (1, 2L, 'x') OR c NOT BETWEEN d AND 1e-3D", "a b c d"),
        ("`a b`.x[i] > 2", "a b|i"),
        ("`tick``ed` <=> e", "tick`ed|e"),
        ("transform(xs, x -> x + y)", "xs y"),
        ("aggregate(xs, 0, (acc, x) -> acc + x, acc -> acc) + acc", "xs acc"),
        ("try_cast(a AS decimal(10, 2)) + b::int + cast(c AS array<struct<f:int>>)[0].f", "a b c"),
        ("date '2020-01-01' < d AND current_date() > date", "d date"),
        ("extract(year FROM d) + timestampdiff(day, a, b) + datediff(a, c)", "d a b c"),
        ("d - interval '2' hours + interval 1 day", "d"),
        ("trim(both ' ' from n) || 'it''s' \"quoted\" -- c", "n"),
        ("case x when 1 then a else b end /* z */", "x a b"),
        ("a like 'x!%' escape '!' and b is not distinct from c", "a b c"),
        ("if(a, b, count(*)) > 1", "a b"),
    ],
)
def test_columns(expression, columns):
    expected = columns.split("|") if "|" in columns else columns.split()
    assert columns_of(expression) == set(expected)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("", "expected a value, found the end at character 1"),
        ("a b", "expected an operator or the end, found b at character 3"),
        ("a +", "expected a value"),
        ("(a", "expected , or )"),
        ("a in ()", "expected a value"),
        ("case a end", "expected WHEN"),
        ("a = 'x", "cannot read"),
        ("a; drop table b", "cannot read ';' at character 2"),
        ("(select 1)", "subqueries are not allowed"),
        ("exists(select 1)", "subqueries are not allowed"),
        ("sum(a) over (partition by b)", "window functions are not allowed"),
        ("end > 1", "quote the name with backticks"),
        ("t < timestamp 'now'", "'now' is the time of the query, not the row's at character 15"),
        ("d = DATE ' Yesterday'", "is the time of the query"),
    ],
)
def test_refused(expression, message):
    with pytest.raises(ExpressionError) as error:
        columns_of(expression)
    assert message in str(error.value)


def test_functions_are_lower_case():
    assert functions_of("LN(a) + if(b, Coalesce(c, 1), 0)") == {"ln", "if", "coalesce"}


def test_functions_without_parentheses_are_functions():
    assert functions_of("d < CURRENT_DATE and t < localtimestamp or a is null and true") == {
        "current_date", "localtimestamp",
    }  # fmt: skip
