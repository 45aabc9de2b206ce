"""Lengths of time as a use case writes them: `30m`, `6h`, `7d`, `2w`."""

import re
from datetime import timedelta
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, PlainSerializer, WithJsonSchema

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_PATTERN = r"^\d+[smhdw]$"


def parse_duration(value: Any) -> timedelta:
    """Return the length of `7d`. Days have 24 hours, whatever a time zone does. Raises `ValueError`."""
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, str) or not re.fullmatch(_PATTERN, value) or value.endswith("\n"):
        raise ValueError("a duration is a whole number and a unit: 30s, 15m, 6h, 7d or 2w")
    try:
        return timedelta(**{_UNITS[value[-1]]: int(value[:-1])})
    except OverflowError:
        raise ValueError("longer than any calendar") from None


def format_duration(value: timedelta) -> str:
    """Return the shortest text that `parse_duration` reads back.

    >>> format_duration(timedelta(days=7)), format_duration(timedelta(hours=36))
    ('7d', '36h')
    """
    seconds = int(value.total_seconds())
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds % length == 0:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"type": "string", "pattern": _PATTERN}),
]
"""A length of time: a whole number and one of s, m, h, d, w."""


def _not_zero(value: timedelta) -> timedelta:
    if not value:
        raise ValueError("must be longer than zero")
    return value


PositiveDuration = Annotated[Duration, AfterValidator(_not_zero)]
"""A length of time above zero."""
