"""Which payments are fraud: three scenarios, the last one that applies names the payment.

1. `LARGE_AMOUNT`: any amount above `AMOUNT_LIMIT`.
2. `TERMINAL`: every payment at a terminal in the 28 days from the one on which it was compromised.
3. `CUSTOMER`: a third of the payments of a customer in the 14 days from the one on which the card's data
   leaked, at five times the amount.

The handbook's simulator compromises two terminals and three customers a day among 10,000 and 5,000;
here the numbers are in proportion, so that the share of fraud is the same at any scale.
"""

import math

import numpy as np

from pipeline_assets.demo_data.streams import random_stream

GENUINE, LARGE_AMOUNT, TERMINAL, CUSTOMER = range(4)
SCENARIOS = ("genuine", "large_amount", "compromised_terminal", "compromised_customer")
"""Names of the values of `TX_FRAUD_SCENARIO`, from 0."""

AMOUNT_LIMIT = 220.0
TERMINAL_DAYS = 28
CUSTOMER_DAYS = 14
CUSTOMER_SHARE = 1 / 3
CUSTOMER_FACTOR = 5

_TERMINALS_A_DAY = 2 / 10_000
_CUSTOMERS_A_DAY = 3 / 5_000


def compromised_terminals(seed: int, day: int, terminals: int, drift: float) -> np.ndarray:
    """int64, the terminals that are compromised on a day, ascending.

    Args:
        seed: of the simulation.
        day: its number from 0.
        terminals: how many there are.
        drift: growth of the daily number, as the logarithm per day.
    """
    return _compromised(seed, "terminals", day, terminals, _TERMINALS_A_DAY, TERMINAL_DAYS, drift)


def compromised_customers(seed: int, day: int, customers: int, drift: float) -> np.ndarray:
    """int64, the customers whose cards are compromised on a day, ascending; see `compromised_terminals`."""
    return _compromised(seed, "customers", day, customers, _CUSTOMERS_A_DAY, CUSTOMER_DAYS, drift)


def commit_fraud(
    amounts: np.ndarray,
    *,
    at_compromised_terminal: np.ndarray,
    of_compromised_customer: np.ndarray,
    draws: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Amounts after fraud, and the scenario of each payment.

    Args:
        amounts: float64 [payments], as the customers would have paid.
        at_compromised_terminal: bool [payments].
        of_compromised_customer: bool [payments].
        draws: float64 [payments], uniform in [0, 1): which payments of a compromised customer are fraud.

    Returns:
        float64 [payments] and int64 [payments].
    """
    stolen = of_compromised_customer & (draws < CUSTOMER_SHARE)
    scenario = np.where(amounts > AMOUNT_LIMIT, LARGE_AMOUNT, GENUINE)
    scenario = np.where(at_compromised_terminal, TERMINAL, scenario)
    scenario = np.where(stolen, CUSTOMER, scenario)
    return np.where(stolen, amounts * CUSTOMER_FACTOR, amounts), scenario


def _compromised(
    seed: int, what: str, day: int, among: int, rate: float, days: int, drift: float
) -> np.ndarray:
    found = [np.empty(0, np.int64)]
    for begun in range(max(0, day - days + 1), day + 1):
        rng = random_stream(seed, "compromised", what, begun)
        expected = among * rate * math.exp(drift * begun)
        count = min(among, math.floor(expected + rng.random()))
        found.append(rng.integers(0, among, count))
    return np.unique(np.concatenate(found))
