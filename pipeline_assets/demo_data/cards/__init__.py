"""A simulated world of payment cards: who pays where (`population`), what happens on a day (`day`),
what is fraud (`fraud`) and what is wrong with bad rows (`bad_rows`).

Written from the published description of the simulator in "Reproducible Machine Learning for Credit
Card Fraud Detection - Practical Handbook". A day follows from the settings and its number alone, so
days can be made in any order, in parallel, and one at a time as they arrive.
"""

from pipeline_assets.demo_data.cards.day import Day, Simulation, SimulationSettings

__all__ = ["Day", "Simulation", "SimulationSettings"]
