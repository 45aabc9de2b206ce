"""Timestamps without an offset to instants, in Arrow arrays: the same as `contract.casts` does with text."""

# pyright: reportAttributeAccessIssue=false
# (the functions of pyarrow.compute are made at import, type checkers do not see them)
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.orc as pa_orc
import pyarrow.parquet as pq

_LOCAL = pa.timestamp("us")
_INSTANT = pa.timestamp("us", tz="UTC")


def to_instants(column: pa.ChunkedArray, timezone: str) -> pa.ChunkedArray:
    """Return the instants (UTC, microseconds) of local times in an IANA zone.

    Where clocks are put back, a time that occurs twice is the earlier instant; one that is skipped
    counts on from before: 02:30 is 03:30 summer time.
    """
    local = column.cast(_LOCAL, safe=False)
    if timezone == "UTC":
        return local.cast(_INSTANT)
    before, after = (
        pc.assume_timezone(local, timezone, ambiguous="earliest", nonexistent=side)
        for side in ("earliest", "latest")
    )
    skipped = pc.not_equal(pc.local_timestamp(after), local)
    # The instant before the gap still has the offset that a skipped time counts on with.
    offset = pc.subtract(pc.local_timestamp(before), before.cast(_INSTANT).cast(_LOCAL))
    counted_on = pc.subtract(local, offset).cast(_INSTANT)
    return pc.if_else(skipped, counted_on, after.cast(_INSTANT))


def instant_columns(file: pq.ParquetFile | pa_orc.ORCFile) -> set[str]:
    """Columns whose timestamps are read without an offset although they are instants.

    Those are the 96-bit timestamps that Spark once wrote, in UTC.
    """
    if isinstance(file, pa_orc.ORCFile):
        return set()
    columns = (file.schema.column(index) for index in range(len(file.schema)))
    return {column.path for column in columns if column.physical_type == "INT96"}
