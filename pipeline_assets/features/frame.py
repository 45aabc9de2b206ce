"""The features as columns of a data frame, and the errors of expressions that an engine refuses.

Nothing is computed here beyond the plan, except to find out which expression failed.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pipeline_assets.contract.casts import quote_name, quote_text
from pipeline_assets.features.semantics import label_value
from pipeline_assets.features.table import timed_schema

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

    from pipeline_assets.spec.features import Feature
    from pipeline_assets.spec.use_case import UseCase

_NUMERIC = ("tinyint", "smallint", "int", "bigint", "float", "double", "boolean", "decimal")
_CATEGORICAL = ("string", "tinyint", "smallint", "int", "bigint", "boolean", "date", "void")


class FeatureError(ValueError):
    """Features that cannot be computed; the message names the feature and what to mend."""


def feature_frame(source: DataFrame, use_case: UseCase, *, labelled: bool) -> DataFrame:
    """Select `_row_id`, `label` where `labelled` (float32 1 or 0, null where missing), the features.

    Numeric features are double here, categorical ones string. Only the plan is analysed, no data
    read.

    Raises:
        FeatureError: where the engine refuses an expression or its type does not fit its kind.
    """
    from pyspark.sql import functions as F

    features = use_case.features.columns
    _check_features(source, features)
    return source.select(
        "_row_id",
        *([_label(use_case)] if labelled else []),
        *(
            F.expr(f.sql).cast("double" if f.kind == "numeric" else "string").alias(f.name)
            for f in features
        ),
    )


def target_frame(source: DataFrame, use_case: UseCase, more: Sequence[Column] = ()) -> DataFrame:
    """Select `_row_id`, `_time`, `label`, the features of single rows, the carried columns, and `more`.

    Numeric features are float32 here, infinite where beyond it, null where missing. For a use case with
    a `time` block whose expressions were checked by `check_expressions`.
    """
    from pyspark.sql import functions as F

    if use_case.time is None:
        raise ValueError(f"use case {use_case.name} has no `time`")
    features = use_case.features
    return source.select(
        "_row_id",
        F.col(quote_name(use_case.time.column)).alias("_time"),
        _label(use_case),
        *(
            _numeric(f) if f.kind == "numeric" else F.expr(f.sql).cast("string").alias(f.name)
            for f in features.columns
        ),
        *(F.col(quote_name(name)) for name in features.carried),
        *more,
    )


def history_frame(source: DataFrame, use_case: UseCase, more: Sequence[Column]) -> DataFrame:
    """Select the columns of `target_frame`, all null but `_row_id`, `_time` and `more`."""
    from pyspark.sql import functions as F

    if use_case.time is None:
        raise ValueError(f"use case {use_case.name} has no `time`")
    rolling = set(use_case.features.rolling_names)
    return source.select(
        "_row_id",
        F.col(quote_name(use_case.time.column)).alias("_time"),
        *(
            F.lit(None).cast(kind).alias(name)
            for name, kind in timed_schema(use_case)[2:]
            if name not in rolling
        ),
        *more,
    )


def _numeric(feature: Feature) -> Column:
    # By way of double, like the features of a use case without time: rounded alike.
    return _expression(feature.sql).cast("double").cast("float").alias(feature.name)


def check_expressions(source: DataFrame, use_case: UseCase) -> None:
    """Analyse the expressions of all features, reading no data: best on an empty data frame.

    Raises:
        FeatureError: where the engine refuses an expression or its type does not fit its use.
    """
    _check_features(source, use_case.features.columns)
    for about, sql, usable in _rolling_expressions(use_case):
        try:
            found = source.select(_expression(sql).alias("x")).dtypes[0][1]
        except spark_errors() as error:
            raise FeatureError(_refused(about, sql, error)) from error
        if usable and found.split("(")[0] not in usable:
            raise FeatureError(
                f"{about}: the expression {sql!r} is of type {found}, not {' or '.join(usable)}; cast it"
            )


def _rolling_expressions(use_case: UseCase) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Yield (what, SQL, usable types or none for any) of each declared expression."""
    for rolling in use_case.features.rolling:
        if rolling.filter is not None:
            yield f"filter of rolling {rolling.name!r}", rolling.filter, ("boolean",)
        for aggregation in rolling.aggregations:
            if aggregation.of is not None:
                distinct = aggregation.function == "distinct_count"
                about = f"{aggregation.function} of rolling {rolling.name!r}"
                yield about, aggregation.of, () if distinct else _NUMERIC


def label_sql(use_case: UseCase) -> str:
    """Return the SQL of the label: 1 where positive, else 0, null where missing, as double."""
    label = use_case.features.label
    positive = label_value(label, use_case.contract.column(label.column))
    value = quote_name(label.column)
    if isinstance(positive, str):
        literal = quote_text(positive)
    elif isinstance(positive, float):
        literal = f"CAST('{positive!r}' AS DOUBLE)"
    else:
        literal = str(positive)
    return (
        f"CAST(CASE WHEN {value} = {literal} THEN 1 WHEN {value} IS NOT NULL THEN 0 END AS DOUBLE)"
    )


def _label(use_case: UseCase) -> Column:
    from pyspark.sql import functions as F

    label = use_case.features.label
    positive = label_value(label, use_case.contract.column(label.column))
    value = F.col(f"`{label.column}`")
    zero_or_one = F.when(value == F.lit(positive), 1.0).when(value.isNotNull(), 0.0)
    return zero_or_one.cast("float").alias("label")


def _check_features(source: DataFrame, features: list[Feature]) -> None:
    if not features:
        return
    try:
        types = dict(source.select(*(_expression(f.sql).alias(f.name) for f in features)).dtypes)
    except spark_errors() as error:
        raise _first_refused(source, features, error) from error
    for feature in features:
        _check_type(feature, types[feature.name])


def _expression(sql: str) -> Column:
    from pyspark.sql import functions as F

    return F.expr(sql)


def _check_type(feature: Feature, found: str) -> None:
    usable = _NUMERIC if feature.kind == "numeric" else _CATEGORICAL
    if found.split("(")[0] not in usable:
        target = "double" if feature.kind == "numeric" else "string"
        raise FeatureError(
            f"feature {feature.name!r} is {feature.kind}, but its expression {feature.sql!r} is of "
            f"type {found}; cast it, e.g. try_cast(... AS {target})"
        )


@functools.cache
def spark_errors() -> tuple[type[Exception], ...]:
    """Return what to catch; a function, since PySpark is imported late."""
    from pyspark.errors import PySparkException

    return (PySparkException,)


def _first_refused(source: DataFrame, features: list[Feature], error: Exception) -> FeatureError:
    """Find the expression that the engine refuses, by analysing one at a time."""
    for feature in features:
        try:
            source.select(_expression(feature.sql)).dtypes  # noqa: B018 - analysis happens here
        except spark_errors() as refused:
            return FeatureError(_refused(f"feature {feature.name!r}", feature.sql, refused))
    return FeatureError(f"the engine refuses the features together: {_first_line(error)}")


def _refused(about: str, sql: str, error: Exception) -> str:
    return f"{about}: the engine refuses the expression {sql!r}: {_first_line(error)}"


def first_failing(source: DataFrame, use_case: UseCase, error: Exception) -> Exception:
    """Find the expression that fails on the data, by running one at a time.

    Returns the engine's own error where none does: then it is no fault of the features.
    """
    from pyspark.sql import functions as F

    features = [(f"feature {f.name!r}", f.sql) for f in use_case.features.columns]
    rolling = [(about, sql) for about, sql, _ in _rolling_expressions(use_case)]
    for about, sql in [*features, *rolling]:
        try:
            source.agg(F.max(F.expr(sql))).collect()
        except spark_errors() as failed:
            return FeatureError(
                f"{about}: the expression {sql!r} fails on a row: "
                f"{_first_line(failed)}. Guard it, e.g. x / nullif(y, 0), try_cast(x AS double)"
            )
    return error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
