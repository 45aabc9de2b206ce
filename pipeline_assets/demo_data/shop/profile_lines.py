"""Versions of user profiles as lines of JSON, with bad ones between them."""

import datetime as dt
import json
from dataclasses import dataclass

import numpy as np

from pipeline_assets.demo_data.rows import Rows, by_turns, counted
from pipeline_assets.demo_data.shop.products import CATEGORIES
from pipeline_assets.demo_data.shop.users import COUNTRIES, PLANS, Users

KINDS = ("malformed_line", "unknown_plan", "null_time", "duplicate_version")
"""Kinds of bad lines in the order in which they take turns.

- `malformed_line`: ends in the middle.
- `unknown_plan`: a version of its own, with a plan that does not exist.
- `null_time`: without `valid_from`.
- `duplicate_version`: user and `valid_from` of the line before, with another amount.
"""

_PLAN_TEXTS = [*PLANS.tolist(), "platinum"]
_UNKNOWN_PLAN = len(PLANS)


@dataclass(frozen=True, kw_only=True)
class _Lines(Rows):
    user: np.ndarray
    valid_from: np.ndarray
    country: np.ndarray
    birth_year: np.ndarray
    favourite: np.ndarray
    plan: np.ndarray
    monthly_spend: np.ndarray
    no_time: np.ndarray
    cut: np.ndarray

    def text(self, start: dt.date) -> str:
        times = np.datetime64(start, "s") + self.valid_from.astype("timedelta64[s]")
        columns = zip(*[column.tolist() for column in vars(self).values()])
        lines = []
        for time, row in zip(np.datetime_as_string(times).tolist(), columns):
            user, _, country, year, favourite, plan, spend, no_time, cut = row
            line = json.dumps(
                {
                    "user_id": user + 1,
                    "valid_from": None if no_time else f"{time}Z",
                    "country": COUNTRIES[country],
                    "birth_year": None if np.isnan(year) else int(year),
                    "favourite": CATEGORIES[favourite],
                    "plan": _PLAN_TEXTS[plan],
                    "monthly_spend": spend,
                }
            )
            lines.append(line[: len(line) // 2] if cut else line)
        return "".join(f"{line}\n" for line in lines)


def profile_lines(
    users: Users,
    chosen: np.ndarray,
    *,
    start: dt.date,
    until: int,
    bad_share: float,
    rng: np.random.Generator,
) -> tuple[str, int, dict[str, int]]:
    """All versions of some users' profiles that begin before a time, by user and `valid_from`.

    Args:
        users: all users.
        chosen: int64, indices of the users.
        start: the day from which seconds count.
        until: the time, in seconds.
        bad_share: bad lines on top, as a share of the versions.
        rng: source of randomness.

    Returns:
        The lines, the number of versions, and the number of bad lines by kind.
    """
    profiles = users.versions_until(until, chosen)
    count = len(profiles)
    valid = _Lines(
        user=profiles.user,
        valid_from=users.valid_from(profiles),
        country=profiles.country,
        birth_year=profiles.birth_year,
        favourite=profiles.favourite,
        plan=profiles.plan,
        monthly_spend=profiles.monthly_spend,
        no_time=np.zeros(count, bool),
        cut=np.zeros(count, bool),
    )
    after = rng.integers(0, max(1, count), round(bad_share * count))
    of = by_turns(KINDS, np.arange(len(after)))
    row = valid.take(after)
    bad = _Lines(
        user=row.user,
        # Versions are days apart: none begins a second later.
        valid_from=row.valid_from + of["unknown_plan"],
        country=row.country,
        birth_year=row.birth_year,
        favourite=row.favourite,
        plan=np.where(of["unknown_plan"], _UNKNOWN_PLAN, row.plan),
        monthly_spend=np.round(row.monthly_spend + of["duplicate_version"], 2),
        no_time=of["null_time"],
        cut=of["malformed_line"],
    )
    return valid.with_copies(bad, after).text(start), count, counted(of)
