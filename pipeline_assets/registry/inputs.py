"""What a served model takes: rows of validated columns, checked against the contract before use.

The rules are the contract's own pandera schema, over the columns that features read. Row rules,
uniqueness and table rules belong to the batch validation (`contract`).
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from pipeline_assets.contract.rules import integer_bounds, rules_of
from pipeline_assets.spec import Column, Contract, UseCase
from pipeline_assets.spec.expressions import columns_of

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from mlflow.models import ModelSignature

_SHOWN = 5


class InputError(ValueError):
    """Rows that the model cannot take; the message names columns, rules, values and rows."""


def serving_contract(use_case: UseCase) -> Contract:
    """The contract of what is served: the columns that features read, in their order, no row rules.

    Rolling features follow as numbers that may be missing: one row does not tell an entity's past, so
    they come from whoever keeps it.
    """
    used = {name for feature in use_case.features.columns for name in columns_of(feature.sql)}
    contract = use_case.joined_contract
    columns = [column for column in contract.columns if column.name in used]
    columns += [
        Column(name=name, type="float64", nullable=True) for name in use_case.features.rolling_names
    ]
    return contract.model_copy(update={"columns": columns, "rows": []})


def to_arrow(frame: pd.DataFrame, contract: Contract, *, timezone: str = "UTC") -> pa.Table:
    """The columns of `frame` in the contract's types; nullable ones that are absent become null.

    Args:
        frame: rows [n], values as text or typed already.
        contract: see `serving_contract`.
        timezone: IANA zone of timestamps without an offset, see `naive_timezone`.

    Raises:
        InputError: a column is absent, or a value does not fit its type or breaks a rule of severity
            error. Rules of severity warn are not asked: a value of the wrong type becomes null.
    """
    import pyarrow as pa
    from pandera.errors import SchemaErrors

    from pipeline_assets.contract.pandera_schema import pandera_schema

    absent = [c.name for c in contract.columns if c.name not in frame.columns and not c.nullable]
    if absent:
        raise InputError(
            f"columns are missing: {', '.join(absent)}; the model takes {', '.join(contract.names)}"
        )
    given = frame.reindex(columns=contract.names).astype(object).reset_index(drop=True)
    if timezone != "UTC":
        for column in contract.columns:
            if column.type == "timestamp":
                given[column.name] = given[column.name].map(_naive_as_text)
    try:
        parsed = pandera_schema(contract, timezone=timezone).validate(given, lazy=True)
    except SchemaErrors as errors:
        problems = _problems(errors.failure_cases, given, contract)
        if problems:
            raise InputError(
                "the rows do not satisfy the contract: " + "; ".join(problems)
            ) from None
        parsed = errors.data
    return pa.Table.from_arrays(
        [
            pa.array(parsed[column.name], from_pandas=True).cast(arrow_type(column))
            for column in contract.columns
        ],
        names=contract.names,
    )


def _naive_as_text(value: Any) -> Any:
    """A datetime without a zone as text, which is read in the zone; MLflow makes them of text."""
    import pandas as pd

    if isinstance(value, dt.datetime) and value is not pd.NaT and value.tzinfo is None:
        return value.isoformat(timespec="microseconds")
    return value


def _problems(cases: pd.DataFrame, given: pd.DataFrame, contract: Contract) -> list[str]:
    """A sentence for each broken rule of severity error, with the first rows that break it."""
    broken = {rule.name: rule for rule in rules_of(contract) if rule.severity == "error"}
    found = []
    for name, group in cases.groupby("check", sort=False):
        rule = broken.get(str(name))
        if rule is None or rule.column is None:
            continue
        rows = sorted({int(index) for index in group["index"]})
        shown = ", ".join(f"{given.at[row, rule.column]!r} in row {row}" for row in rows[:_SHOWN])
        more = f" and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else ""
        found.append(
            f"{name} ({_expected(contract.column(rule.column), rule.kind)}): {shown}{more}"
        )
    return found


def _expected(column: Column, kind: str) -> str:
    return {
        "type": f"must be of type {column.type}",
        "nullable": "must not be missing",
        "finite": "must be finite",
        "range": f"must be {_range(column)}",
        "allowed": f"must be one of {column.allowed}",
        "pattern": f"must match {column.pattern}",
        "max_length": f"must be at most {column.max_length} characters long",
    }.get(kind, "broken")


def _range(column: Column) -> str:
    low, high = (f"{b:g}" if isinstance(b, float) else b for b in (column.min, column.max))
    if low is None or high is None:
        return f"at most {high}" if low is None else f"at least {low}"
    return f"from {low} to {high}"


def signature(columns: list[Column]) -> ModelSignature:
    """MLflow's signature. Whole numbers that may be missing are doubles, as pandas holds them."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema

    kinds = {
        "string": DataType.string,
        "int32": DataType.long,
        "int64": DataType.long,
        "float32": DataType.double,
        "float64": DataType.double,
        "boolean": DataType.boolean,
        "date": DataType.datetime,
        "timestamp": DataType.datetime,
    }

    def kind(column: Column) -> DataType:
        whole = column.type in ("int32", "int64")
        return DataType.double if whole and column.nullable else kinds[column.type]

    return ModelSignature(
        inputs=Schema(
            [ColSpec(kind(column), column.name, required=not column.nullable) for column in columns]
        ),
        outputs=Schema(
            [ColSpec(DataType.double, "probability"), ColSpec(DataType.long, "prediction")]
        ),
    )


def example(columns: list[Column]) -> pd.DataFrame:
    """One made-up row within the contract's ranges, for the signature's sake."""
    import pandas as pd

    return pd.DataFrame([{column.name: _example(column) for column in columns}])


def arrow_type(column: Column) -> pa.DataType:
    """The Arrow type of a contract column."""
    from pipeline_assets.engine.arrow_types import ARROW_TYPES

    return ARROW_TYPES[column.type]


def _example(column: Column) -> Any:
    import pandas as pd

    if column.allowed:
        return column.allowed[0]
    low, high = column.min, column.max
    if column.type in ("int32", "int64"):
        first, last = integer_bounds(column)
        bounded = [b for b, given in ((first, low), (last, high)) if given is not None]
        middle = sum(bounded) // len(bounded) if bounded else 1
        return float(middle) if column.nullable else middle
    if column.type in ("float32", "float64"):
        numbers = [float(bound) for bound in (low, high) if bound is not None]
        return sum(numbers) / len(numbers) if numbers else 1.0
    if column.type == "boolean":
        return True
    if column.type in ("date", "timestamp"):
        return pd.Timestamp(str(low or high or "2024-01-01"))
    return "text" if column.max_length is None else "text"[: column.max_length]
