"""Customers of a bank and their true probability to leave: the statistics of `bank_churn` files.

The marginals and the dependence follow the public bank churn file (10,000 customers, 20 % left):
older customers, Germans, women, the inactive and holders of three or four products leave more often.
The label is one draw per customer from its probability, so no model can do better than the
probability itself.
"""

from dataclasses import dataclass

import numpy as np

_SURNAMES = """
Smith, Martin, Scott, Walker, Brown, Yeh, Genovese, Shih, Wright, Maclean, Fanucci, Wilson, White,
Johnson, Moore, Lu, Wang, Chu, Sun, Thompson, Lo, Ma, Hughes, Kao, Robinson, Manna, Trevisani,
Lombardo, McGregor, O'Brien, O'Sullivan, T'ang, Ch'ien, De Luca, Wentworth-Shields, Müller, Schäfer,
Weiß, Lefèvre, Gonçalves, Núñez, Iñárritu, García, Peña, Bianchi, Ferri, Hsieh, Onyemauchechukwu
"""
SURNAMES = np.array([name.strip() for name in _SURNAMES.split(",")])
COUNTRIES = np.array(["France", "Germany", "Spain"])
GENDERS = np.array(["Female", "Male"])

_INTERCEPT = -2.94
_COUNTRY = np.array([0.0, 0.75, 0.05])
_PRODUCTS = np.array([0.0, 1.05, -0.75, 4.3, 6.5])
"""By number of products; a second product ties a customer, a third is sold to the dissatisfied."""


@dataclass(frozen=True, kw_only=True)
class Customers:
    """Columns, all of the same length; NaN and -1 stand for values that are missing in the file."""

    surname: np.ndarray
    credit_score: np.ndarray
    geography: np.ndarray
    gender: np.ndarray
    age: np.ndarray
    tenure: np.ndarray
    balance: np.ndarray
    products: np.ndarray
    has_card: np.ndarray
    active: np.ndarray
    salary: np.ndarray
    exited: np.ndarray
    probability: np.ndarray
    """True probability of `exited`, in steps of 1e-6."""


def draw_customers(rng: np.random.Generator, rows: int, shift: float) -> Customers:
    """Draw customers.

    Args:
        rng: source of randomness; always the same number of draws, whatever the shift.
        rows: how many.
        shift: moves log(age - 17) and log(balance) by so many of their standard deviations.
    """
    country = rng.choice(3, rows, p=[0.5014, 0.2509, 0.2477])
    gender = (rng.random(rows) < 0.5457).astype(np.int64)
    age = 17 + np.exp(2.95 + 0.48 * (rng.standard_normal(rows) + shift))
    age = np.clip(np.rint(age), 18, 92)
    tenure = np.minimum(rng.integers(0, 11, rows), age - 16)
    score = np.clip(np.rint(650 + 97 * rng.standard_normal(rows)), 350, 850)
    no_balance = (country != 1) & (rng.random(rows) < 0.483)
    balance = np.exp(11.66 + 0.26 * (rng.standard_normal(rows) + shift))
    balance = np.where(no_balance, 0.0, np.round(np.minimum(balance, 400_000), 2))
    draw = rng.random(rows)
    limits = np.where(no_balance[:, None], [0.250, 0.969, 0.996], [0.655, 0.966, 0.993])
    products = 1 + (draw[:, None] > limits).sum(axis=1)
    has_card = (rng.random(rows) < 0.7055).astype(np.int64)
    active = (rng.random(rows) < 0.5151).astype(np.int64)
    salary = np.round(rng.uniform(11, 200_000, rows), 2)
    logit = (
        _INTERCEPT
        + _COUNTRY[country]
        - 0.55 * gender
        # Rises until about 55 and falls again, as in the real file.
        + 3.6 * np.exp(-(((age - 54) / 13.0) ** 2))
        + _PRODUCTS[products]
        - 1.05 * active
        - 0.45 * active * (age > 60)
        + 0.30 * (balance > 0) * (products == 1)
        - 0.0008 * (score - 650)
        - 0.015 * (tenure - 5)
    )
    probability = np.round(1 / (1 + np.exp(-logit)), 6)
    exited = (rng.random(rows) < probability).astype(np.int64)
    return Customers(
        surname=SURNAMES[rng.integers(0, len(SURNAMES), rows)],
        credit_score=score.astype(np.int64),
        geography=COUNTRIES[country],
        gender=GENDERS[gender],
        age=age.astype(np.int64),
        tenure=tenure.astype(np.int64),
        balance=balance,
        products=products.astype(np.int64),
        has_card=has_card,
        active=active,
        salary=salary,
        exited=exited,
        probability=probability,
    )
