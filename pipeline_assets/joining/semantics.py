"""What is wrong with a use case's `sources`, before anything runs. Pure Python over the spec: no engine."""

from collections.abc import Iterator
from dataclasses import replace

from pipeline_assets.contract.semantics import contract_problems
from pipeline_assets.joining.results import ABSENT
from pipeline_assets.spec.joined import JoinedSource, joined_name
from pipeline_assets.spec.problems import Problem
from pipeline_assets.spec.suggestions import did_you_mean
from pipeline_assets.spec.time import PLACEHOLDER
from pipeline_assets.spec.use_case import UseCase

_Path = tuple[str | int, ...]


def join_problems(use_case: UseCase) -> list[Problem]:
    """Return every mistake in `sources`, in the order of the file.

    Mistakes in a source's contract; a source that has partitions; join columns that are unknown, of
    different types or not the key; a `valid_from` that is unknown, no time, not part of the key, or of no
    use without `time`; names that two columns of the joined table would have.
    """
    problems = []
    for name, source in use_case.sources.items():
        at = ("sources", name)
        problems += _source_problems(source, at)
        problems += [replace(p, path=(*at, *p.path)) for p in contract_problems(source.contract)]
        problems += _join_problems(use_case, source, at)
        problems += _valid_from_problems(use_case, source, at)
    return [*problems, *_name_problems(use_case)]


def _source_problems(source: JoinedSource, at: _Path) -> Iterator[Problem]:
    if PLACEHOLDER in source.source.uri:
        yield Problem(
            path=(*at, "source", "uri"),
            message=f"a joined source has no partitions, so its uri has no {PLACEHOLDER}: all of its files "
            "are one version",
            suggestion="name the folder, or a glob of all files",
        )


def _join_problems(use_case: UseCase, source: JoinedSource, at: _Path) -> Iterator[Problem]:
    events, own = use_case.contract, source.contract
    for event_column, column in source.join.items():
        here = (*at, "join", event_column)
        known = True
        for contract, name, whose in (
            (events, event_column, "the events' contract"),
            (own, column, "this source's contract"),
        ):
            if name not in contract.names:
                known = False
                yield Problem(
                    path=here,
                    message=f"{whose} has no column {name!r}",
                    suggestion=did_you_mean(name, contract.names, what="columns"),
                )
        if known and events.column(event_column).type != own.column(column).type:
            yield Problem(
                path=here,
                message=f"{event_column!r} of the events is {events.column(event_column).type}, "
                f"{column!r} of this source is {own.column(column).type}: they are never equal",
                suggestion="declare both with the same type",
            )
    by, key = list(source.join.values()), [n for n in own.key if n != source.valid_from]
    for column in sorted({column for column in by if by.count(column) > 1}):
        yield Problem(
            path=(*at, "join"), message=f"two event columns are to equal the same column {column!r}"
        )
    if set(by) != set(key) and set(by) <= set(own.names):
        without = "" if source.valid_from is None else f", without valid_from {source.valid_from!r}"
        yield Problem(
            path=(*at, "join"),
            message=f"joined by {', '.join(by)}, but a row of this source is identified by its key "
            f"{', '.join(key)}{without}: an event could match several rows or would need more columns",
            suggestion=f"join by {', '.join(key)}" if key else None,
        )


def _valid_from_problems(use_case: UseCase, source: JoinedSource, at: _Path) -> Iterator[Problem]:
    name, here = source.valid_from, (*at, "valid_from")
    if name is None:
        return
    if use_case.time is None:
        yield Problem(
            path=here,
            message="valid_from needs a use case with `time`: what is valid depends on when an event happened",
            suggestion="declare `time`, or deliver one row for each key",
        )
    if name not in source.contract.names:
        yield Problem(
            path=here,
            message=f"this source's contract has no column {name!r}",
            suggestion=did_you_mean(name, source.contract.names, what="columns"),
        )
        return
    kind = source.contract.column(name).type
    if kind not in ("timestamp", "date"):
        yield Problem(path=here, message=f"the column {name!r} is {kind}, not timestamp or date")
    if name not in source.contract.key:
        yield Problem(
            path=here,
            message=f"{name!r} is not part of this source's key, so that no key may have several rows",
            suggestion=f"key: [{', '.join([*source.contract.key, name])}]",
        )
    if name in source.join.values():
        yield Problem(
            path=here, message=f"{name!r} is compared with the time; leave it out of `join`"
        )


def _name_problems(use_case: UseCase) -> Iterator[Problem]:
    if not use_case.sources:
        return
    taken = {name.lower(): f"the events' column {name!r}" for name in use_case.contract.names}
    if ABSENT in taken:
        yield Problem(
            path=("contract", "columns", use_case.contract.names.index(ABSENT), "name"),
            message=f"the name {ABSENT!r} is reserved in a use case with `sources`",
        )
    for name, source in use_case.sources.items():
        positions = {column: at for at, column in enumerate(source.contract.names)}
        for column in source.columns:
            joined = joined_name(name, column.name)
            path = ("sources", name, "contract", "columns", positions[column.name], "name")
            if joined.lower() in taken:
                yield Problem(
                    path=path,
                    message=f"joined to the events it is called {joined!r}, as {taken[joined.lower()]} is",
                    suggestion="give the source, or the column by source.columns, another name",
                )
            taken.setdefault(joined.lower(), f"column {column.name!r} of {name!r}")
