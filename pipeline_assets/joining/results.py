"""What a join found, as plain frozen values, and its error."""

from dataclasses import dataclass
from typing import Any

from pipeline_assets.lake.manifest import FileEntry

ABSENT = "_unmatched"
"""Column of the rows taken out: the names of the sources that lack a row for the event."""


class JoinError(ValueError):
    """A join that cannot be made, or may not be; the message says of which source and what to do."""


@dataclass(frozen=True, kw_only=True)
class JoinResult:
    """What was written for one partition, or for a table without partitions."""

    rows_events: int
    """Validated rows, by their manifest."""
    rows_joined: int
    """Rows with the columns of all sources."""
    rows_unmatched: int
    """Rows taken out, because a source with the rule `reject` lacks a row for them."""
    unmatched: dict[str, int]
    """Source to the events without a row in it, whatever its rule."""
    samples: dict[str, list[dict[str, Any]]]
    """Source to the key, and the time where there is one, of its first unmatched events by row id."""
    joined_files: list[FileEntry]
    """Files with the joined rows."""
    unmatched_files: list[FileEntry]
    """Files with the rows taken out."""
    joined_schema: list[tuple[str, str]]
    """(column, Spark type) of the joined rows in order."""
    unmatched_schema: list[tuple[str, str]]
    """(column, Spark type) of the rows taken out in order."""

    @property
    def conserved(self) -> bool:
        """Every event is in exactly one of the two tables."""
        return self.rows_events == self.rows_joined + self.rows_unmatched
