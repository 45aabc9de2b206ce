"""Users and the versions of their profiles, looked up at any time without a list of versions."""

from dataclasses import dataclass

import numpy as np

from pipeline_assets.demo_data.rows import DAY_SECONDS, Rows
from pipeline_assets.demo_data.shop.products import CATEGORIES
from pipeline_assets.demo_data.streams import random_stream, random_values

COUNTRIES = np.array(["AT", "CH", "DE", "FR"])
PLANS = np.array(["free", "plus", "premium"])

NEVER = np.iinfo(np.int64).max
"""Registration of users who have no profile."""

_HISTORY_DAYS = 180
_LATE_DAYS = 30


@dataclass(frozen=True, kw_only=True)
class Profiles(Rows):
    """Versions of profiles, or what is known of users at some times; arrays [rows]."""

    user: np.ndarray
    """int64, index of the user."""
    version: np.ndarray
    """int64 from 0, -1 where there is no profile yet, or none at all."""
    country: np.ndarray
    """int64, index of COUNTRIES; never changes."""
    birth_year: np.ndarray
    """float64, NaN where it was not given; never changes."""
    favourite: np.ndarray
    """int64, index of CATEGORIES; may change with every second version."""
    plan: np.ndarray
    """int64, index of PLANS; may change with every third version."""
    monthly_spend: np.ndarray
    """float64, EUR; changes with every version."""


class Users:
    """All users; a user's index is its number from 0, its id in the files one more."""

    def __init__(self, seed: int, count: int, *, unknown_share: float, late_share: float) -> None:
        """Draw users.

        Args:
            seed: of the shop.
            count: how many.
            unknown_share: share of users who never have a profile.
            late_share: share of users who register in the 30 days from the start, but visit before.
        """
        rng = random_stream(seed, "users")
        self.seed = seed
        self.activity = rng.gamma(2.0, 0.5, count)
        """float64 [users], how often they visit, in proportion to others."""
        self.period = rng.integers(15 * DAY_SECONDS, 60 * DAY_SECONDS, count)
        """int64 [users], seconds from one version to the next."""
        early = -rng.integers(0, _HISTORY_DAYS * DAY_SECONDS, count)
        late = rng.integers(1, _LATE_DAYS * DAY_SECONDS, count)
        draw = rng.random(count)
        self.registered = np.where(draw < unknown_share + late_share, late, early)
        """int64 [users], seconds from the start to the first version; `NEVER` for users without."""
        self.registered[draw < unknown_share] = NEVER
        self._country = rng.integers(0, len(COUNTRIES), count)
        year = np.clip(np.rint(1985 + 13 * rng.standard_normal(count)), 1935, 2008)
        self._birth_year = np.where(rng.random(count) < 0.05, np.nan, year)
        self._spend = 30 * np.exp(0.7 * rng.standard_normal(count))

    def __len__(self) -> int:
        return len(self.registered)

    def profiles_at(self, users: np.ndarray, seconds: np.ndarray) -> Profiles:
        """What was known of users at some times: the version with the latest `valid_from` until then.

        Args:
            users: int64 [rows], indices.
            seconds: int64 [rows], since the start.
        """
        registered = self.registered[users]
        known = registered <= seconds
        elapsed = np.where(known, seconds, 0) - np.where(known, registered, 0)
        return self._profiles(users, np.where(known, elapsed // self.period[users], -1))

    def versions_until(self, seconds: int, users: np.ndarray) -> Profiles:
        """All versions that begin before a time, by user and time."""
        registered = self.registered[users]
        users = users[registered < seconds]
        last = (seconds - 1 - self.registered[users]) // self.period[users]
        each = np.repeat(users, last + 1)
        first = np.cumsum(last + 1) - (last + 1)
        return self._profiles(each, np.arange(len(each)) - np.repeat(first, last + 1))

    def valid_from(self, profiles: Profiles) -> np.ndarray:
        """int64 [rows], seconds since the start from which versions are valid."""
        return self.registered[profiles.user] + profiles.version * self.period[profiles.user]

    def _profiles(self, users: np.ndarray, version: np.ndarray) -> Profiles:
        level = random_values(self.seed, "spend", users, version)
        plan = random_values(self.seed, "plan", users, version // 3)
        favourite = random_values(self.seed, "favourite", users, version // 2)
        return Profiles(
            user=users,
            version=version,
            country=self._country[users],
            birth_year=self._birth_year[users],
            favourite=(favourite * len(CATEGORIES)).astype(np.int64),
            plan=np.searchsorted([0.6, 0.85], plan, side="right"),
            monthly_spend=np.round(self._spend[users] * (0.6 + 0.8 * level), 2),
        )
