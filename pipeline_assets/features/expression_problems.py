"""What is wrong with an expression over validated columns, whatever it is for."""

from collections.abc import Iterator

from pipeline_assets.spec.expressions import ExpressionError, columns_of, functions_of
from pipeline_assets.spec.functions import refusal, replacement
from pipeline_assets.spec.problems import Problem
from pipeline_assets.spec.suggestions import did_you_mean
from pipeline_assets.spec.use_case import UseCase


def expression_problems(
    use_case: UseCase, sql: str, path: tuple[str | int, ...], about: str
) -> Iterator[Problem]:
    """Yield what is wrong with an expression of a feature.

    It cannot be read, names unknown columns or the label, or is not a function of its row alone.

    Args:
        use_case: the use case.
        sql: the expression.
        path: where it is.
        about: what it is, for the messages.
    """
    try:
        used, functions = columns_of(sql), functions_of(sql)
    except ExpressionError as error:
        yield Problem(path=path, message=f"{about.partition(': ')[0]}: {error}")
        return
    known, label = use_case.joined_contract.names, use_case.features.label.column
    for column in sorted(used - set(known)):
        yield Problem(
            path=path,
            message=f"{about} needs the unknown column {column!r}",
            suggestion=did_you_mean(column, known),
        )
    if label in used:
        yield Problem(path=path, message=f"{about} uses the label {label!r}: a leak")
    for function in sorted(functions):
        reason = refusal(function)
        if reason:
            yield Problem(
                path=path,
                message=f"{about} calls {function}: {reason}",
                suggestion=replacement(function),
            )
