"""Row counts and row-id sums per split: what a copy of the features, such as shards, must reproduce."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from pipeline_assets.lake import Version


def row_fingerprints(spark: SparkSession, features: Version) -> dict[str, dict[str, int]]:
    """Return `{split: {rows, row_id_sum}}` of a features version; `all` where it has no splits.

    `row_id_sum` is the sum of `_row_id` modulo 2**64: equal sums and counts mean the same rows, up to
    a chance of 2**-64. The sum is taken as decimal, because ANSI SQL refuses to wrap.
    """
    from pyspark.sql import functions as sql

    from pipeline_assets.engine import read_version

    divided = any(name == "_split" for name, _ in features.manifest.schema)
    rows = (
        read_version(spark, features)
        .selectExpr("_row_id", "_split" if divided else "'all' AS _split")
        .groupBy("_split")
        .agg(
            sql.count("*").alias("rows"),
            sql.sum(sql.expr("CAST(_row_id AS DECIMAL(20, 0))")).alias("total"),
        )
        .collect()
    )
    return {
        row["_split"]: {"rows": row["rows"], "row_id_sum": int(row["total"]) % 2**64}
        for row in rows
    }
