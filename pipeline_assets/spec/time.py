"""The `time` block: it makes a use case partitioned. What windows look back over is in `rolling`."""

import datetime as dt
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, field_validator

from pipeline_assets.spec.duration import Duration, PositiveDuration
from pipeline_assets.spec.model_base import SpecModel

PLACEHOLDER = "{partition}"
"""Stands for the partition's key in the source's `uri`."""


class Arrivals(SpecModel):
    """How the place that `source.uri` names is watched for files of partitions."""

    every: PositiveDuration = dt.timedelta(seconds=30)
    """Least time between two looks."""
    settle: Duration = dt.timedelta(seconds=60)
    """A file is complete when it has not changed for so long, and not since the look before."""
    success_marker: str | None = None
    """Name of the file, beside a partition's files, that declares them complete, such as `_SUCCESS` or
    `{partition}.done`; none by default."""
    runs_per_look: int = Field(default=1, ge=1)
    """Runs requested at most in one look; what is left waits until they have ended. Where several run at the
    same time, later partitions may miss the earlier ones in their history: only for features without windows."""


class Time(SpecModel):
    """When events happen, and how they are cut into partitions.

    A partition holds the events of one day in `timezone`, or of one hour in UTC; its key is
    `2026-11-21`, or `2026-11-21-05:00` for the hour from five. Events are stored in UTC.
    """

    column: str
    """Contract column of type timestamp: when the event happened."""
    timezone: str = "UTC"
    """IANA zone that cuts days, and that timestamps of the source without an offset are in. Where clocks
    are put back, a time that occurs twice is the earlier instant; one that is skipped counts on from before
    (02:30 is 03:30 summer time)."""
    partition: Literal["daily", "hourly"] = "daily"
    """Length of a partition. Hourly partitions are cut in UTC."""
    start: dt.date
    """First partition."""
    end: dt.date | None = None
    """First day that is no partition any more; open by default."""
    label_delay: Duration = dt.timedelta(0)
    """Labels are known so long after their event; before that they enter no feature and no training."""
    unique_lookback: Duration = dt.timedelta(days=1)
    """A key must not have occurred in the raw partitions that lie so far back; `0d` looks at none."""
    arrivals: Arrivals = Arrivals()
    """How the sensor finds files of new partitions."""

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError):
            raise ValueError("not an IANA time zone such as UTC or Europe/Berlin") from None
        return value

    @property
    def length(self) -> dt.timedelta:
        """Nominal length of a partition."""
        return dt.timedelta(days=1) if self.partition == "daily" else dt.timedelta(hours=1)


class TimeSplit(SpecModel):
    """Rows of a model by time, relative to its training date T (00:00 in the use case's zone).

        train | gap | validation | label delay | T test

    Labels younger than `time.label_delay` are unknown at T, so validation ends that long before T.

    A training date is evaluated when its test period is over, with the labels delivered by then. Where
    labels come by re-delivery of their partitions, materialise `evaluation_report` of the date again when
    the label delay after the test period is over.
    """

    train: PositiveDuration
    """Length of the training period."""
    gap: Duration = dt.timedelta(0)
    """Left out between training and validation, e.g. the label delay, to judge under later conditions."""
    validation: PositiveDuration
    """Length of the validation period."""
    test: PositiveDuration
    """Length of the test period; it begins at the training date."""
    every: Literal["daily", "weekly"] = "weekly"
    """Distance of training dates."""
    weekday: int = Field(default=1, ge=0, le=6)
    """Weekday of weekly training dates: 0 is Sunday, 1 Monday, as in cron."""
