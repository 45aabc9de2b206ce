"""The first day of generated events, as a use case names it."""

import datetime as dt

from pipeline_assets.demo_data.errors import DemoDataError


def start_day(start: str | dt.date) -> dt.date:
    """The day of an ISO text.

    Raises:
        DemoDataError: no such day.
    """
    try:
        return start if isinstance(start, dt.date) else dt.date.fromisoformat(start)
    except ValueError as error:
        raise DemoDataError(f"start: {start!r} is not a date such as 2018-04-01") from error
