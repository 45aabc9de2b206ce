# ruff: noqa: T201 (the terminal is what this module writes to)
"""`pipeline_assets run` for a use case with `time`: its data as one range, a model per training date, the backtest.

Each is a launch of its own, as a Dagster user would make it; how a launch is followed is in `run`.
"""

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline_assets.command.errors import CommandError
from pipeline_assets.demo_data import ensure_demo_data
from pipeline_assets.environments import Environment
from pipeline_assets.ingest.landing import landed_partitions
from pipeline_assets.spec import UseCase
from pipeline_assets.spec.partitions import contiguous_ranges, first_training_date
from pipeline_assets.spec.training_dates import TrainingDateError, training_partitions


@dataclass(frozen=True, kw_only=True)
class Launch:
    """One launch of a job."""

    job: str
    """Name of the job."""
    options: tuple[str, ...] = ()
    """Options of `dg launch` that choose its partitions."""
    alone: bool = False
    """What comes after it does not need it: a failure is told at the end."""


def launches(use_case: UseCase, environment: Environment) -> list[Launch]:
    """Return what makes everything that the landed files allow, in order; writes demo data where declared.

    Raises:
        CommandError: no partition has a file.
    """
    time = use_case.time
    assert time is not None
    source = use_case.source.model_copy(update={"uri": environment.locate(use_case.source.uri)})
    written = ensure_demo_data(source, home=environment.home)
    if written:
        print(f"no source at {use_case.source.uri}: generated {written['rows']:,} rows", flush=True)
    landed = landed_partitions(source.uri, time)
    if not landed:
        raise CommandError(
            f"{use_case.name}: no file of {use_case.source.uri} is of a partition from {time.start} on"
        )
    print(f"{len(landed):,} partitions have files: {landed[0]} to {landed[-1]}", flush=True)
    name = use_case.name
    # A day without a file would fail in its range, so ranges end before it.
    found = [
        Launch(job=f"{name}_data", options=("--partition-range", f"{first}...{last}"))
        for first, last in contiguous_ranges(time, landed)
    ]
    dates = trainable_dates(use_case, landed)
    found += [
        Launch(job=f"{name}_train", options=("--partition", f"{date}"), alone=True)
        for date in dates
    ]
    if dates:
        found.append(Launch(job=f"{name}_backtest"))
    else:
        print("no training date has all of its partitions yet: no model is trained", flush=True)
    return found


def trainable_dates(use_case: UseCase, landed: Sequence[str]) -> list[dt.date]:
    """Return the training dates all of whose partitions have files, in order; none without `time_split`."""
    if use_case.time_split is None:
        return []
    keys = set(landed)
    dates = []
    for date in _training_dates(use_case):
        try:
            needed = training_partitions(use_case, date)
        except TrainingDateError:
            break  # beyond the end of the use case's time
        if needed.test[-1] > landed[-1]:
            break
        if all(keys.issuperset(role) for role in needed.roles.values()):
            dates.append(date)
    return dates


def _training_dates(use_case: UseCase) -> Iterator[dt.date]:
    assert use_case.time_split is not None
    step = dt.timedelta(days=7 if use_case.time_split.every == "weekly" else 1)
    date = first_training_date(use_case)
    while True:
        yield date
        date += step
