"""What is wrong with the time column, the rolling features and the carried columns, before anything runs."""

import datetime as dt
from collections.abc import Iterator

from pipeline_assets.features.expression_problems import expression_problems
from pipeline_assets.spec.problems import Problem
from pipeline_assets.spec.rolling import Rolling
from pipeline_assets.spec.suggestions import did_you_mean
from pipeline_assets.spec.use_case import UseCase

_Path = tuple[str | int, ...]


def timed_problems(use_case: UseCase) -> list[Problem]:
    """Return every mistake in `time`, `features.rolling` and `features.carried`, in the order of the file.

    A time column that is unknown, no timestamp or may be missing; entities and carried columns that are
    unknown; expressions that cannot be read, name unknown columns or the label; a rate of labels that are
    not late; names that two columns of the feature table would have.
    """
    return [
        *_time_problems(use_case),
        *(
            problem
            for position, rolling in enumerate(use_case.features.rolling)
            for problem in _rolling_problems(use_case, rolling, position)
        ),
        *_carried_problems(use_case),
    ]


def _time_problems(use_case: UseCase) -> Iterator[Problem]:
    if use_case.time is None:
        return
    path, name, contract = ("time", "column"), use_case.time.column, use_case.contract
    if name not in contract.names:
        yield Problem(
            path=path,
            message=f"the time column {name!r} is not in the contract",
            suggestion=did_you_mean(name, contract.names),
        )
        return
    column = contract.column(name)
    if column.type != "timestamp":
        yield Problem(
            path=path, message=f"the time column {name!r} is {column.type}, not timestamp"
        )
    if column.nullable or column.severities.get("nullable", column.severity) != "error":
        yield Problem(path=path, message=f"the time column {name!r} may be missing in the contract")


def _rolling_problems(use_case: UseCase, rolling: Rolling, position: int) -> Iterator[Problem]:
    path: _Path = ("features", "rolling", position)
    yield from _entity_problems(use_case, rolling, path)
    if rolling.filter is not None:
        about = f"filter {rolling.filter!r}"
        yield from expression_problems(use_case, rolling.filter, (*path, "filter"), about)
    late = use_case.time.label_delay if use_case.time is not None else dt.timedelta(0)
    for number, aggregation in enumerate(rolling.aggregations):
        at = (*path, "aggregations", number)
        if aggregation.of is not None:
            about = f"{aggregation.function} of {aggregation.of!r}"
            yield from expression_problems(use_case, aggregation.of, (*at, "of"), about)
        if aggregation.function == "label_rate" and not late + rolling.delay:
            yield Problem(
                path=(*at, "function"),
                message="label_rate without a label delay includes the event's own label: a leak",
                suggestion="time.label_delay, e.g. 7d",
            )
    yield from _name_problems(use_case, rolling, position)


def _entity_problems(use_case: UseCase, rolling: Rolling, path: _Path) -> Iterator[Problem]:
    contract = use_case.joined_contract
    for number, name in enumerate(rolling.entity):
        at = (*path, "entity", number)
        if name not in contract.names:
            yield Problem(
                path=at,
                message=f"the entity column {name!r} is not in the contract",
                suggestion=did_you_mean(name, contract.names),
            )
        elif name == use_case.features.label.column:
            yield Problem(path=at, message=f"the entity is the label {name!r}: a leak")
        elif contract.column(name).type.startswith("float"):
            yield Problem(
                path=at,
                message=f"the entity column {name!r} is {contract.column(name).type}: equal only by chance",
            )


def _name_problems(use_case: UseCase, rolling: Rolling, position: int) -> Iterator[Problem]:
    features = use_case.features
    taken = {feature.name.lower(): f"feature {feature.name!r}" for feature in features.columns}
    for earlier in features.rolling[:position]:
        for name in earlier.feature_names:
            taken.setdefault(name.lower(), f"a feature of rolling {earlier.name!r}")
    own: dict[str, int] = {}
    for number, aggregation in enumerate(rolling.aggregations):
        path = ("features", "rolling", position, "aggregations", number)
        names = {rolling.feature_name(aggregation, window) for window in rolling.windows}
        for name in sorted(names):
            other = taken.get(name.lower())
            if own.setdefault(name.lower(), number) != number:
                other = f"aggregation {own[name.lower()] + 1}"
            if other is not None:
                yield Problem(
                    path=path,
                    message=f"the name {name!r} is that of {other} too",
                    suggestion="give the aggregation another name",
                )
                break


def _carried_problems(use_case: UseCase) -> Iterator[Problem]:
    features, contract = use_case.features, use_case.joined_contract
    taken = {
        name.lower() for name in (*features.rolling_names, *(f.name for f in features.columns))
    }
    taken |= {"_row_id", "_time", "_split", "label"}
    for position, name in enumerate(features.carried):
        path = ("features", "carried", position)
        if name not in contract.names:
            yield Problem(
                path=path,
                message=f"the carried column {name!r} is not in the contract",
                suggestion=did_you_mean(name, contract.names),
            )
        elif name.lower() in taken:
            yield Problem(
                path=path, message=f"{name!r} is a column of the feature table without it already"
            )
        taken.add(name.lower())
    if features.carried and use_case.time is None:
        yield Problem(path=("features", "carried"), message="carried columns need a `time` block")
