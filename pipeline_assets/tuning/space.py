"""The search space as Optuna's distributions, and settings as Optuna knows them."""

import json
from collections.abc import Mapping
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from pipeline_assets.spec import Domain

Space = Mapping[str, Domain]


def choices(space: Space) -> list[str]:
    """The settings whose values Optuna knows as JSON texts."""
    return [name for name, domain in space.items() if domain.kind == "choice"]


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """Setting to distribution. Values of a choice are JSON texts: Optuna takes no lists."""
    return {name: _distribution(domain) for name, domain in space.items()}


def encoded(space: Space, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """Settings as Optuna knows them; None where one is missing or not in the space.

    A number that is equal to one of a choice, such as 1 to 1.0, takes its place.
    """
    found: dict[str, Any] = {}
    for name, domain in space.items():
        if name not in settings or not domain.holds(settings[name]):
            return None
        value = settings[name]
        if domain.kind == "choice":
            value = json.dumps(domain.values[list(domain.values).index(value)])
        found[name] = float(value) if domain.kind in ("uniform", "loguniform") else value
    return found


def _distribution(domain: Domain) -> BaseDistribution:
    if domain.kind == "choice":
        return CategoricalDistribution([json.dumps(value) for value in domain.values])
    low, high = domain.values
    if domain.kind == "integer":
        return IntDistribution(low, high)
    return FloatDistribution(low, high, log=domain.kind == "loguniform")
