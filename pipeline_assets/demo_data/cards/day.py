"""The payments of one day, from the settings and the day's number alone."""

import datetime as dt
import math
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipeline_assets.demo_data.cards import bad_rows, fraud
from pipeline_assets.demo_data.cards.columns import Payments
from pipeline_assets.demo_data.cards.population import draw_population
from pipeline_assets.demo_data.rows import DAY_SECONDS, FIRST_ID_STEP
from pipeline_assets.demo_data.streams import random_stream

NOON, SPREAD = 43_200, 20_000
"""Payments happen around noon, normally distributed, in seconds; what falls outside of the day is dropped."""

KEPT_SHARE = math.erf(NOON / SPREAD / math.sqrt(2))
"""Share of payments whose time falls inside the day."""

_LOG_AMOUNT_STD = 0.71  # standard deviation of the logarithm of the customers' mean amounts
_DRIFT_DAYS = 30


@dataclass(frozen=True, kw_only=True)
class SimulationSettings:
    """What a simulation follows from."""

    customers: int
    """Number of customers, at least 1."""
    terminals: int
    """Number of terminals, at least 1."""
    daily_mean: float
    """Valid payments a day of a customer, on average."""
    start: dt.date = dt.date(2018, 4, 1)
    """The day with the number 0."""
    seed: int = 0
    """Equal settings and seeds give equal bytes."""
    shift: float = 0.0
    """Moves the logarithm of all amounts by so many standard deviations of the customers' means."""
    drift: float = 0.0
    """What every 30 days add to `shift`; cards and terminals compromised a day grow by the factor exp(drift)."""
    bad_share: float = 0.0
    """Bad rows on top, as a share of the valid rows to expect, dealt evenly to all kinds."""

    @property
    def rows_a_day(self) -> float:
        """Valid rows to expect on a day."""
        return self.customers * self.daily_mean


@dataclass(frozen=True, kw_only=True)
class Day:
    """A day as it is in its file."""

    date: dt.date
    table: pa.Table
    """Valid and bad rows in order of time."""
    rows: int
    """Valid rows."""
    scenarios: dict[str, int]
    """Valid rows by the name of their `TX_FRAUD_SCENARIO`, see `fraud.SCENARIOS`."""
    bad_rows: dict[str, int]
    """Bad rows by kind; kinds without any are left out."""


class Simulation:
    """Makes days in any order; safe to share between threads."""

    def __init__(self, settings: SimulationSettings) -> None:
        """Draw the population.

        Raises:
            ValueError: numbers that are not positive.
        """
        for name in ("customers", "terminals", "daily_mean"):
            if getattr(settings, name) <= 0:
                raise ValueError(f"{name}: {getattr(settings, name)} is not positive")
        self.settings = settings
        self.population = draw_population(
            random_stream(settings.seed, "population"),
            customers=settings.customers,
            terminals=settings.terminals,
            daily_mean=settings.daily_mean / KEPT_SHARE,
        )

    def day(self, number: int) -> Day:
        """The day with a number, 0 for the first.

        Raises:
            ValueError: a negative number.
        """
        if number < 0:
            raise ValueError(f"day {number}: the first day has the number 0")
        settings = self.settings
        payments = self._payments(number)
        scenarios = np.bincount(payments.scenario, minlength=len(fraud.SCENARIOS))
        spoiled, kinds = bad_rows.spoil(
            payments,
            day=number,
            indices=_bad_row_indices(settings, number),
            earlier_rows=lambda: len(self._arrivals(number - 1)[0]),
            rng=random_stream(settings.seed, "bad rows", number),
        )
        return Day(
            date=settings.start + dt.timedelta(days=number),
            table=spoiled.as_table(settings.start),
            rows=len(payments),
            scenarios=dict(zip(fraud.SCENARIOS, scenarios.tolist())),
            bad_rows=kinds,
        )

    def _arrivals(self, day: int) -> tuple[np.ndarray, np.ndarray]:
        """Second of the day and customer of each payment, both int64, in order of time."""
        rng = random_stream(self.settings.seed, "arrivals", day)
        rates = self.population.daily_rate
        customers = np.repeat(np.arange(len(rates)), rng.poisson(rates))
        seconds = (NOON + SPREAD * rng.standard_normal(len(customers))).astype(np.int64)
        kept = (seconds > 0) & (seconds < DAY_SECONDS)
        seconds, customers = seconds[kept], customers[kept]
        order = np.argsort(seconds, kind="stable")
        return seconds[order], customers[order]

    def _payments(self, day: int) -> Payments:
        settings, population = self.settings, self.population
        drift = settings.drift / _DRIFT_DAYS
        seconds, customers = self._arrivals(day)
        rng = random_stream(settings.seed, "payments", day)
        mean = population.mean_amount[customers]
        amounts = mean * (1 + 0.5 * rng.standard_normal(len(mean)))
        amounts = np.where(amounts < 0, 2 * mean * rng.random(len(mean)), amounts)
        amounts *= math.exp(_LOG_AMOUNT_STD * (settings.shift + drift * day))
        draws = rng.random(len(mean))
        terminals = population.pick_terminals(rng, customers)
        by_terminal = fraud.compromised_terminals(settings.seed, day, settings.terminals, drift)
        by_customer = fraud.compromised_customers(settings.seed, day, settings.customers, drift)
        amounts, scenario = fraud.commit_fraud(
            np.round(amounts, 2),
            at_compromised_terminal=np.isin(terminals, by_terminal),
            of_compromised_customer=np.isin(customers, by_customer),
            draws=draws,
        )
        return Payments(
            id=day * FIRST_ID_STEP + np.arange(len(mean)),
            seconds=day * DAY_SECONDS + seconds,
            customer=customers,
            terminal=terminals,
            amount=np.round(amounts, 2),
            scenario=scenario,
            no_time=np.zeros(len(mean), bool),
        )


def _bad_row_indices(settings: SimulationSettings, day: int) -> range:
    """Numbers of a day's bad rows, counted over all days."""
    daily = settings.bad_share * settings.rows_a_day
    return range(math.floor(daily * day), math.floor(daily * (day + 1)))
