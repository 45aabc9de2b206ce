"""Computes the feature table: `_row_id`, `_split`, `label`, then the features in declared order.

Two passes over the validated rows: one aggregation (the histogram that the split needs, and how
many values are infinite), then the write. Numeric features become float32: missing values,
infinities and values beyond float32 are NaN. Categorical features become text, null for missing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from pipeline_assets.features.frame import (
    FeatureError,
    feature_frame,
    first_failing,
    spark_errors,
)
from pipeline_assets.features.semantics import feature_problems
from pipeline_assets.features.split import BINS, bin_sql, borders, split_counts, split_sql
from pipeline_assets.spec.expressions import columns_of

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from pipeline_assets.lake import FileEntry, StagedVersion, Version
    from pipeline_assets.spec.use_case import UseCase


@dataclass(frozen=True, kw_only=True)
class FeatureResult:
    """What was written, for the manifest and the user interface."""

    files: list[FileEntry]
    """The published files."""
    rows: int
    """Rows written, equal to the validated rows."""
    schema: list[tuple[str, str]]
    """(column, Spark type) in order."""
    split_rows: dict[str, int]
    """{train, validation, test}, or {all} of a partition, to rows."""
    label_rates: dict[str, float]
    """The same to the share of positive rows."""
    lineage: dict[str, list[str]]
    """Column to the validated columns that it is made of, sorted."""
    infinite: dict[str, int] = field(default_factory=dict)
    """Numeric feature to values that were infinite or beyond float32 and became NaN, where any."""


def compute_features(
    spark: SparkSession, validated: Version, use_case: UseCase, staged: StagedVersion
) -> FeatureResult:
    """Compute the features of one validated version, joined with the `sources`, and write them into `staged`.

    Files are bucketed and sorted by `_row_id`, so the same rows give the same bytes.

    Raises:
        FeatureError: for expressions that the use case's checks or the engine refuse, before any
            data is read; for values that an expression cannot handle (division by zero, bad cast);
            for a label with one class only, and for rows too few to fill every split.
    """
    from pipeline_assets.engine import bucket_count, read_version, write_buckets

    refuse_problems(use_case)
    source = read_version(spark, validated)
    frame = feature_frame(source, use_case, labelled=True)
    frame = frame.selectExpr("*", f"{bin_sql(use_case.split_seed)} AS _bin")
    histogram, infinite = _aggregate(source, frame, use_case)
    rows = int(histogram.sum())
    if rows != validated.rows:
        raise FeatureError(
            f"{validated.rows} validated rows gave {rows} feature rows with a label: label column "
            f"{use_case.features.label.column!r} is missing in some, or an expression adds rows"
        )
    split = use_case.split
    chosen = borders(
        histogram, train=split.train, validation=split.validation, stratify=split.stratify
    )
    counts = split_counts(histogram, chosen)
    _refuse_unusable(counts, use_case)
    part = split_sql(chosen, bin_column="_bin", label_column="label")
    names = [feature.name for feature in use_case.features.columns]
    numeric = {feature.name for feature in use_case.features.numeric}
    table = frame.selectExpr(
        "_row_id",
        f"{part} AS _split",
        "label",
        *(_finite_sql(name) if name in numeric else f"`{name}`" for name in names),
    )
    files = write_buckets(
        table,
        staged=staged,
        folder="rows",
        bucket_expression="_row_id",
        buckets=bucket_count(rows),
        order_by=["_row_id"],
    )
    return FeatureResult(
        files=files,
        rows=rows,
        schema=feature_schema(use_case),
        split_rows={name: sum(pair) for name, pair in counts.items()},
        label_rates={name: pair[1] / sum(pair) for name, pair in counts.items()},
        lineage=lineage(use_case),
        infinite=infinite,
    )


def feature_schema(use_case: UseCase) -> list[tuple[str, str]]:
    """Return (column, Spark type) of the feature table in order."""
    return [
        ("_row_id", "bigint"),
        ("_split", "string"),
        ("label", "float"),
        *(
            (feature.name, "float" if feature.kind == "numeric" else "string")
            for feature in use_case.features.columns
        ),
    ]


def lineage(use_case: UseCase) -> dict[str, list[str]]:
    """Return each column of the feature table with the validated columns that it is made of."""
    return {
        "_row_id": sorted(use_case.contract.key),
        "_split": sorted({*use_case.contract.key, use_case.features.label.column}),
        "label": [use_case.features.label.column],
        **{feature.name: sorted(columns_of(feature.sql)) for feature in use_case.features.columns},
    }


def _infinite_sql(name: str) -> str:
    """SQL that is true for a value that float32 cannot hold as a finite number."""
    return f"abs(CAST(`{name}` AS FLOAT)) = CAST('Infinity' AS FLOAT)"


def _finite_sql(name: str) -> str:
    """SQL of the published float32 value of a double column."""
    nan = "CAST('NaN' AS FLOAT)"
    return (
        f"CASE WHEN `{name}` IS NULL OR isnan(`{name}`) OR {_infinite_sql(name)} THEN {nan} "
        f"ELSE CAST(`{name}` AS FLOAT) END AS `{name}`"
    )


def _aggregate(
    source: DataFrame, frame: DataFrame, use_case: UseCase
) -> tuple[np.ndarray, dict[str, int]]:
    """Return the label histogram, int64 [2, 4096], and the infinite values per numeric feature.

    One aggregation; at most 8,192 rows come back, whatever the data's size.
    """
    from pyspark.sql import functions as F

    numeric = [feature.name for feature in use_case.features.numeric]
    counts = [
        F.sum(F.expr(f"CASE WHEN {_infinite_sql(name)} THEN 1 ELSE 0 END")).alias(f"_inf_{index}")
        for index, name in enumerate(numeric)
    ]
    try:
        table = (
            frame.where("label IS NOT NULL")
            .groupBy("label", "_bin")
            .agg(F.count(F.lit(1)).alias("_rows"), *counts)
            .toArrow()
        )
    except spark_errors() as error:
        raise first_failing(source, use_case, error) from error
    histogram = np.zeros((2, BINS), dtype=np.int64)
    labels = table["label"].to_numpy().astype(np.int64)
    histogram[labels, table["_bin"].to_numpy()] = table["_rows"].to_numpy()
    sums = {name: int(table[f"_inf_{i}"].to_numpy().sum()) for i, name in enumerate(numeric)}
    return histogram, {name: count for name, count in sums.items() if count}


def refuse_problems(use_case: UseCase) -> None:
    """Raise `FeatureError` with all mistakes of the use case's features, if it has any."""
    problems = feature_problems(use_case)
    if problems:
        lines = [
            f"{problem.message}; {problem.suggestion}" if problem.suggestion else problem.message
            for problem in problems
        ]
        raise FeatureError("\n".join(lines))


def _refuse_unusable(counts: dict[str, tuple[int, int]], use_case: UseCase) -> None:
    label = use_case.features.label
    negative = sum(pair[0] for pair in counts.values())
    positive = sum(pair[1] for pair in counts.values())
    if not negative or not positive:
        raise FeatureError(
            f"label column {label.column!r} has one class only: {positive} of "
            f"{negative + positive} rows equal the positive value {label.positive!r}"
        )
    for name, (without, having) in counts.items():
        if not without or not having:
            raise FeatureError(
                f"the {name} split has {without} negative and {having} positive rows of "
                f"{negative + positive}; each split needs both classes: more rows, or other shares"
            )
