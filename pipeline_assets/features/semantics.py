"""What is wrong with a use case's features, label, split and slices, before anything runs.

Pure Python over the spec: no engine. What only the engine knows (functions, types inside
expressions) is checked in `compute`, before any data is read.
"""

from collections.abc import Iterator

from pipeline_assets.features.expression_problems import expression_problems
from pipeline_assets.features.timed_semantics import timed_problems
from pipeline_assets.spec.contract import Column
from pipeline_assets.spec.expressions import ExpressionError, columns_of
from pipeline_assets.spec.features import Feature, Label
from pipeline_assets.spec.problems import Problem
from pipeline_assets.spec.suggestions import did_you_mean
from pipeline_assets.spec.use_case import UseCase

RESERVED_NAMES = frozenset({"_row_id", "_split", "_time", "label"})
"""Columns of the feature table that are not features."""

LabelValue = str | int | float | bool

_NUMERIC_TYPES = frozenset({"int32", "int64", "float32", "float64", "boolean"})
_CATEGORICAL_TYPES = frozenset({"string", "int32", "int64", "boolean", "date"})


def feature_problems(use_case: UseCase) -> list[Problem]:
    """Return every mistake in `features`, `time` and `evaluation.slices`.

    Unknown columns, expressions that cannot be read, or are not a function of their row alone,
    label or key inside a feature, duplicate and reserved names, bare columns of an unusable type, a
    label that the contract lacks or allows to be missing, slices of unknown features, bins out of
    order; for rolling features see `timed_problems`.
    """
    return [
        *_name_problems(use_case.features.columns),
        *_expression_problems(use_case),
        *_label_problems(use_case),
        *timed_problems(use_case),
        *_slice_problems(use_case),
    ]


def label_value(label: Label, column: Column) -> LabelValue:
    """Return `label.positive` as a value of the label column's type.

    Raises:
        ValueError: where no value of that type equals it.
    """
    positive = label.positive
    wrong = f"{positive!r} is no value of column {column.name}, whose type is {column.type}"
    if column.type == "string":
        if isinstance(positive, bool):
            raise ValueError(f"{wrong}: write the text between quotes")
        return str(positive)
    if column.type == "boolean":
        if positive in (0, 1):
            return bool(positive)
        raise ValueError(f"{wrong}: write true or false")
    if column.type in ("int32", "int64", "float32", "float64"):
        try:
            number = float(positive)
        except ValueError as error:
            raise ValueError(f"{wrong}: write a number") from error
        if column.type.startswith("float"):
            return number
        if number.is_integer():
            return int(number)
        raise ValueError(f"{wrong}: write a whole number")
    raise ValueError(f"a label of type {column.type} is not supported: derive one upstream")


def _name_problems(features: list[Feature]) -> Iterator[Problem]:
    first: dict[str, int] = {}
    for position, feature in enumerate(features):
        path = ("features", "columns", position, "name")
        lower = feature.name.lower()
        if lower in RESERVED_NAMES:
            yield Problem(path=path, message=f"feature name {feature.name!r} is reserved")
        elif lower in first:
            yield Problem(
                path=path,
                message=f"feature {feature.name!r} is declared twice (as number {first[lower] + 1}"
                f" and {position + 1}; letter case does not count)",
            )
        first.setdefault(lower, position)


def _expression_problems(use_case: UseCase) -> Iterator[Problem]:
    key, contract = set(use_case.contract.key), use_case.joined_contract
    for position, feature in enumerate(use_case.features.columns):
        part = "expression" if feature.expression is not None else "name"
        path = ("features", "columns", position, part)
        about = f"feature {feature.name!r}: expression {feature.sql!r}"
        yield from expression_problems(use_case, feature.sql, path, about)
        for column in sorted(_columns(feature.sql) & key):
            yield Problem(
                path=path, message=f"{about} uses the key column {column!r}, which names the row"
            )
        if feature.expression is None and feature.name in contract.names:
            yield from _type_problems(feature, contract.column(feature.name), position)


def _columns(sql: str) -> set[str]:
    """Columns of an expression, none where it cannot be read: that is a problem of its own."""
    try:
        return columns_of(sql)
    except ExpressionError:
        return set()


def _type_problems(feature: Feature, column: Column, position: int) -> Iterator[Problem]:
    usable = _NUMERIC_TYPES if feature.kind == "numeric" else _CATEGORICAL_TYPES
    if column.type not in usable:
        target = "double" if feature.kind == "numeric" else "string"
        yield Problem(
            path=("features", "columns", position, "kind"),
            message=f"feature {feature.name!r} is {feature.kind}, column type {column.type}",
            suggestion=f"write expression: try_cast(`{column.name}` AS {target})",
        )


def _label_problems(use_case: UseCase) -> Iterator[Problem]:
    label, contract = use_case.features.label, use_case.contract
    path = ("features", "label", "column")
    if label.column not in contract.names:
        yield Problem(
            path=path,
            message=f"the label column {label.column!r} is not in the contract",
            suggestion=did_you_mean(label.column, contract.names),
        )
        return
    column = contract.column(label.column)
    if column.nullable or column.severities.get("nullable", column.severity) != "error":
        yield Problem(
            path=path, message=f"the label column {label.column!r} may be missing in the contract"
        )
    try:
        positive = label_value(label, column)
    except ValueError as error:
        yield Problem(path=("features", "label", "positive"), message=str(error))
        return
    if column.allowed is not None and positive not in column.allowed:
        yield Problem(
            path=("features", "label", "positive"),
            message=f"{positive!r} is not among the allowed values {column.allowed}",
        )


def _slice_problems(use_case: UseCase) -> Iterator[Problem]:
    kinds = {feature.name: feature.kind for feature in use_case.features.columns}
    kinds |= dict.fromkeys(use_case.features.rolling_names, "numeric")
    for position, part in enumerate(use_case.evaluation.slices):
        path = ("evaluation", "slices", position)
        if part.feature not in kinds:
            yield Problem(
                path=(*path, "feature"),
                message=f"the slice names the unknown feature {part.feature!r}",
                suggestion=did_you_mean(part.feature, kinds),
            )
            continue
        if part.bins is None:
            continue
        if kinds[part.feature] == "categorical":
            yield Problem(
                path=(*path, "bins"),
                message=f"feature {part.feature!r} is categorical: bins are for numeric features",
            )
        elif any(low >= high for low, high in zip(part.bins, part.bins[1:], strict=False)):
            yield Problem(
                path=(*path, "bins"),
                message=f"bins {part.bins} are not ascending",
                suggestion=f"write {sorted(set(part.bins))}",
            )
