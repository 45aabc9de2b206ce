"""Reading published versions as data frames."""

from typing import TYPE_CHECKING

from pipeline_assets.lake import Version

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


def read_version(
    spark: "SparkSession", version: Version, folder: str = "rows", schema: str | None = None
) -> "DataFrame":
    """Return the rows of a version's Parquet files below `folder`.

    Args:
        spark: The session.
        version: A published version.
        folder: Subfolder of the version.
        schema: DDL of the empty data frame that a version without such files gives; the manifest's
            schema by default, which describes `rows`.
    """
    uris = version.uris(folder, ".parquet")
    if uris:
        return spark.read.parquet(*uris)
    if schema is None:
        schema = ", ".join(f"`{name}` {kind}" for name, kind in version.manifest.schema)
    return spark.createDataFrame([], schema)
