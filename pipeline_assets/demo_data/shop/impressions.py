"""What is shown and clicked on one day, from the settings and the day's number alone."""

import datetime as dt
import math
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipeline_assets.demo_data.label_counts import STEPS
from pipeline_assets.demo_data.rows import DAY_SECONDS, FIRST_ID_STEP
from pipeline_assets.demo_data.shop import bad_rows
from pipeline_assets.demo_data.shop.columns import Impressions
from pipeline_assets.demo_data.shop.products import draw_products
from pipeline_assets.demo_data.shop.users import NEVER, PLANS, Profiles, Users
from pipeline_assets.demo_data.streams import random_stream

PAGE = 5
"""Products that are shown at once, at the positions from 1 and with the same time."""

_PREMIUM = int(np.flatnonzero(PLANS == "premium")[0])


@dataclass(frozen=True, kw_only=True)
class ShopSettings:
    """What a shop follows from."""

    users: int
    """Number of users, at least 1."""
    products: int
    """Number of products, at least 1."""
    daily_rows: float
    """Valid impressions to expect on a day."""
    start: dt.date = dt.date(2025, 1, 1)
    """The day with the number 0."""
    seed: int = 0
    """Equal settings and seeds give equal bytes."""
    shift: float = 0.0
    """Moves the logarithm of prices by so many standard deviations."""
    bad_share: float = 0.0
    """Bad rows on top in each source, as a share of its valid rows, dealt evenly to all kinds."""
    unknown_users: float = 0.03
    """Share of users without a profile."""
    late_users: float = 0.05
    """Share of users who register within 30 days from the start, but visit before."""
    unlisted_products: float = 0.02
    """Share of products that are missing in the catalogue."""


@dataclass(frozen=True, kw_only=True)
class Day:
    """A day as it is in its file."""

    date: dt.date
    table: pa.Table
    """Valid and bad rows in order of time."""
    valid: Impressions
    """Valid rows."""
    probability: np.ndarray
    """float64, true probability of a click of each valid row, in steps of 1 / STEPS."""
    unmatched: dict[str, int]
    """Valid rows by what they lack: `no_profile` at all, only a `later_profile`, `no_product`, `any` of these."""
    bad_rows: dict[str, int]
    """Bad rows by kind; kinds without any are left out."""


class Shop:
    """Makes days in any order; safe to share between threads."""

    def __init__(self, settings: ShopSettings) -> None:
        """Draw users and products.

        Raises:
            ValueError: numbers that are not positive, shares that are none.
        """
        for name in ("users", "products", "daily_rows"):
            if getattr(settings, name) <= 0:
                raise ValueError(f"{name}: {getattr(settings, name)} is not positive")
        for name in ("unknown_users", "late_users", "unlisted_products"):
            if not 0 <= getattr(settings, name) <= 1:
                raise ValueError(f"{name}: {getattr(settings, name)} is not a share from 0 to 1")
        self.settings = settings
        self.users = Users(
            settings.seed,
            settings.users,
            unknown_share=settings.unknown_users,
            late_share=settings.late_users,
        )
        self.products = draw_products(
            random_stream(settings.seed, "products"),
            settings.products,
            unlisted_share=settings.unlisted_products,
            shift=settings.shift,
        )

    def day(self, number: int) -> Day:
        """The day with a number, 0 for the first.

        Raises:
            ValueError: a negative number.
        """
        if number < 0:
            raise ValueError(f"day {number}: the first day has the number 0")
        settings = self.settings
        rng = random_stream(settings.seed, "impressions", number)
        share = self.users.activity / self.users.activity.sum()
        visits = rng.poisson(settings.daily_rows / PAGE * share)
        visitor = np.repeat(np.arange(len(self.users)), visits)
        # Most visits are in the evening; those after midnight belong to the same day's early hours.
        of_day = (3600 * (20 + 4 * rng.standard_normal(len(visitor)))).astype(np.int64)
        of_day %= DAY_SECONDS
        order = np.argsort(of_day, kind="stable")
        user = np.repeat(visitor[order], PAGE)
        seconds = number * DAY_SECONDS + np.repeat(of_day[order], PAGE)
        product = rng.choice(settings.products, len(user), p=self.products.popularity)
        position = np.tile(np.arange(1, PAGE + 1), len(visitor))
        profiles = self.users.profiles_at(user, seconds)
        probability = self._probability(profiles, product, position, seconds)
        valid = Impressions(
            id=number * FIRST_ID_STEP + np.arange(len(user)),
            seconds=seconds,
            user=user,
            product=product,
            position=position,
            clicked=(rng.random(len(user)) < probability).astype(np.int64),
            no_time=np.zeros(len(user), bool),
        )
        daily = settings.bad_share * settings.daily_rows
        rows, kinds = bad_rows.spoil(
            valid,
            day=number,
            indices=range(math.floor(daily * number), math.floor(daily * (number + 1))),
            rng=random_stream(settings.seed, "bad impressions", number),
        )
        no_profile = self.users.registered[user] == NEVER
        later = (profiles.version < 0) & ~no_profile
        no_product = ~self.products.listed[product]
        return Day(
            date=settings.start + dt.timedelta(days=number),
            table=rows.as_table(settings.start, self.products.id),
            valid=valid,
            probability=probability,
            unmatched={
                "no_profile": int(no_profile.sum()),
                "later_profile": int(later.sum()),
                "no_product": int(no_product.sum()),
                "any": int((no_profile | later | no_product).sum()),
            },
            bad_rows=kinds,
        )

    def _probability(
        self, profiles: Profiles, product: np.ndarray, position: np.ndarray, seconds: np.ndarray
    ) -> np.ndarray:
        products = self.products
        known, listed = profiles.version >= 0, products.listed[product]
        rating = np.nan_to_num(products.rating[product] - 3.9)
        age = np.nan_to_num(self.settings.start.year - profiles.birth_year, nan=40.0)
        of_product = 0.7 * rating - 0.2 * np.log(products.price[product] / 25)
        of_profile = 0.4 * (profiles.plan == _PREMIUM) - 0.015 * (age - 40)
        too_dear = np.maximum(np.log(products.price[product] / profiles.monthly_spend), 0)
        match = 1.8 * (profiles.favourite == products.category[product]) - 0.9 * too_dear
        evening = seconds % DAY_SECONDS >= 18 * 3600
        logit = (
            -2.3
            - 0.5 * np.log(position)
            + 0.2 * evening
            + of_product * listed
            + of_profile * known
            + match * (known & listed)
        )
        return np.round(STEPS / (1 + np.exp(-logit))) / STEPS
