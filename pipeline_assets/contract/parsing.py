"""The casting rules of `casts` for one text at a time, in plain Python: the reference they are held to.

Used for the literals of a contract and by the pandera schema; far too slow for tables.
"""

import math
import re
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

from pipeline_assets.contract.casts import (
    DATE_PATTERN,
    FALSE_TEXTS,
    INTEGER_PATTERN,
    NAN_TEXTS,
    NEGATIVE_INFINITY_TEXTS,
    POSITIVE_INFINITY_TEXTS,
    TRUE_TEXTS,
    WHITESPACE,
)
from pipeline_assets.contract.rules import INTEGER_LIMITS
from pipeline_assets.spec.contract import ColumnType

Value = str | int | float | bool | date | datetime

FLOAT32_OVERFLOW = 3.4028235677973366e38
"""Halfway between the largest float32 and the next power of two: from here on it rounds to infinity."""

_FLOAT = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_MOMENT = re.compile(
    rf"(?P<date>{DATE_PATTERN})"
    r"([T ](?P<hour>[0-9]{2}):(?P<minute>[0-9]{2})(:(?P<second>[0-9]{2})"
    r"(\.(?P<fraction>[0-9]{1,9}))?)?"
    r"(Z|(?P<sign>[+-])(?P<zone_hours>0[0-9]|1[0-7])(:?(?P<zone_minutes>[0-5][0-9]))?)?)?"
)


def parse_text(text: str, column_type: ColumnType, *, timezone: str = "UTC") -> Value:
    """Return the typed value of a text; NaN is returned as NaN, timestamps in UTC.

    Args:
        text: what to read.
        column_type: type of the value.
        timezone: IANA zone of timestamps without an offset.

    Raises:
        ValueError: where the text breaks the rule `type`.
    """
    if column_type == "string":
        return text
    trimmed = text.strip(WHITESPACE)
    parsed: Value | None
    if column_type in INTEGER_LIMITS:
        parsed = _integer(trimmed, *INTEGER_LIMITS[column_type])
    elif column_type in ("float32", "float64"):
        parsed = _float(trimmed, overflow=FLOAT32_OVERFLOW if column_type == "float32" else None)
    elif column_type == "boolean":
        folded = ascii_lower(trimmed)
        parsed = True if folded in TRUE_TEXTS else False if folded in FALSE_TEXTS else None
    elif column_type == "date":
        matched = re.fullmatch(DATE_PATTERN, trimmed, re.ASCII)
        parsed = date.fromisoformat(trimmed) if matched else None
    else:
        parsed = _timestamp(trimmed, UTC if timezone == "UTC" else ZoneInfo(timezone))
    if parsed is None:
        raise ValueError(f"{text!r} is no {column_type}")
    return parsed


def ascii_lower(text: str) -> str:
    """Lower-case ASCII letters alone, as the accepted spellings are ASCII."""
    return text.lower() if text.isascii() else text


def _integer(text: str, low: int, high: int) -> int | None:
    if re.fullmatch(INTEGER_PATTERN, text) is None:
        return None
    value = int(text.partition(".")[0])
    return value if low <= value <= high else None


def _float(text: str, overflow: float | None) -> float | None:
    folded = ascii_lower(text)
    if folded in NAN_TEXTS:
        return math.nan
    if folded in POSITIVE_INFINITY_TEXTS:
        return math.inf
    if folded in NEGATIVE_INFINITY_TEXTS:
        return -math.inf
    if _FLOAT.fullmatch(text) is None:
        return None
    value = float(text)
    if overflow is not None and abs(value) >= overflow:
        return math.copysign(math.inf, value)
    return value


def _timestamp(text: str, local: tzinfo) -> datetime | None:
    found = _MOMENT.fullmatch(text)
    if found is None:
        return None
    zone = UTC if text.endswith("Z") else local
    if (zone is not UTC or found["sign"]) and found["date"][:4] in ("0001", "9999"):
        return None
    if found["sign"]:
        hours, minutes = int(found["zone_hours"]), int(found["zone_minutes"] or 0)
        offset = timedelta(hours=hours, minutes=minutes)
        zone = timezone(-offset if found["sign"] == "-" else offset)
    day = date.fromisoformat(found["date"])
    moment = datetime(
        day.year,
        day.month,
        day.day,
        int(found["hour"] or 0),
        int(found["minute"] or 0),
        int(found["second"] or 0),
        int((found["fraction"] or "0").ljust(9, "0")[:6]),
        tzinfo=zone,
    )
    return moment.astimezone(UTC)
