"""Further sources whose columns are joined to the events: user profiles, a product catalogue."""

from typing import Literal

from pydantic import Field

from pipeline_assets.spec.contract import Column, Contract
from pipeline_assets.spec.model_base import SpecModel
from pipeline_assets.spec.source import Source

Unmatched = Literal["keep", "reject", "fail"]


class JoinedSource(SpecModel):
    """One source that is joined to the events by its key; each event matches one of its rows, or none.

    Its columns, but for those that it is joined by, are available to features as `<source>_<column>`. All
    of it is one version, read anew with every version of its files, and every partition of events depends
    on it.
    """

    source: Source
    """Raw data."""
    contract: Contract
    """Rules of its rows."""
    join: dict[str, str] = Field(min_length=1)
    """Event column to the column of this source that equals it: together the key of this source, without
    `valid_from`. An event that lacks one of them matches no row."""
    valid_from: str | None = None
    """Makes it slowly changing: the part of its key, a timestamp or date, that says from when on a row is
    valid. An event matches the row of its key with the latest `valid_from` that is not after the event. A
    date is valid from its midnight in the zone of `time`."""
    unmatched: Unmatched = "keep"
    """Events without a row: `keep` them with missing values, `reject` them into the asset `unmatched`, or
    `fail`, so that nothing is published."""

    @property
    def columns(self) -> list[Column]:
        """The columns that are joined, under their own names: all but those that it is joined by."""
        by = set(self.join.values())
        return [column for column in self.contract.columns if column.name not in by]


def joined_name(source: str, column: str) -> str:
    """Return the name of a joined column among the events' columns.

    >>> joined_name("profiles", "age")
    'profiles_age'
    """
    return f"{source}_{column}"
