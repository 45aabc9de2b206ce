"""The features as columns of a data frame, and the errors of expressions that an engine refuses.

Nothing is computed here beyond the plan, except to find out which expression failed.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from pipeline_assets.features.semantics import label_value

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
    try:
        types = dict(source.select(*(F.expr(f.sql).alias(f.name) for f in features)).dtypes)
    except spark_errors() as error:
        raise _first_refused(source, features, error) from error
    for feature in features:
        _check_type(feature, types[feature.name])
    return source.select(
        "_row_id",
        *([_label(use_case)] if labelled else []),
        *(
            F.expr(f.sql).cast("double" if f.kind == "numeric" else "string").alias(f.name)
            for f in features
        ),
    )


def _label(use_case: UseCase) -> Column:
    from pyspark.sql import functions as F

    label = use_case.features.label
    positive = label_value(label, use_case.contract.column(label.column))
    value = F.col(f"`{label.column}`")
    zero_or_one = F.when(value == F.lit(positive), 1.0).when(value.isNotNull(), 0.0)
    return zero_or_one.cast("float").alias("label")


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
    from pyspark.sql import functions as F

    for feature in features:
        try:
            source.select(F.expr(feature.sql)).dtypes  # noqa: B018 - analysis happens here
        except spark_errors() as refused:
            return FeatureError(
                f"feature {feature.name!r}: the engine refuses the expression {feature.sql!r}: "
                f"{_first_line(refused)}"
            )
    return FeatureError(f"the engine refuses the features together: {_first_line(error)}")


def first_failing(source: DataFrame, use_case: UseCase, error: Exception) -> Exception:
    """Find the expression that fails on the data, by running one at a time.

    Returns the engine's own error where none does: then it is no fault of the features.
    """
    from pyspark.sql import functions as F

    for feature in use_case.features.columns:
        try:
            source.agg(F.max(F.expr(feature.sql))).collect()
        except spark_errors() as failed:
            return FeatureError(
                f"feature {feature.name!r}: the expression {feature.sql!r} fails on a row: "
                f"{_first_line(failed)}. Guard it, e.g. x / nullif(y, 0), try_cast(x AS double)"
            )
    return error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
