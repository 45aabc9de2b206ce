"""The contract as pandera schemas: the same rules in the language that data people share.

They judge frames that fit in memory (notebooks, tests, samples); tables are judged by `validation`,
which a property test holds to these verdicts. pandera is imported here, so import this lazily.
"""

from collections.abc import Callable, Mapping
from datetime import UTC
from typing import Any

import numpy as np
import pandas as pd
import pandera.pandas as pa
from pandera.errors import SchemaErrors

from pipeline_assets.contract.names import UNIQUE_KEY
from pipeline_assets.contract.parsing import parse_text
from pipeline_assets.contract.patterns import portable_pattern
from pipeline_assets.contract.rules import Rule, integer_bounds, rules_of, severity_of
from pipeline_assets.spec.contract import Column, ColumnType, Contract

RowRules = Mapping[str, Callable[[pd.DataFrame], pd.Series]]

PANDAS_TYPES: dict[ColumnType, Any] = {
    "string": pd.StringDtype("python"),
    "int32": pd.Int32Dtype(),
    "int64": pd.Int64Dtype(),
    "float32": np.dtype("float32"),
    "float64": np.dtype("float64"),
    "boolean": pd.BooleanDtype(),
    "date": np.dtype("datetime64[us]"),
    "timestamp": pd.DatetimeTZDtype("us", "UTC"),
}
"""Type of each parsed column. Missing is NaN in floats, NaT in dates, NA elsewhere."""


def pandera_schema(
    contract: Contract, row_rules: RowRules | None = None, *, timezone: str = "UTC"
) -> pa.DataFrameSchema:
    """Return the schema of a frame with the contract's columns, as text or typed already.

    A parser casts text by the rules of `casts`; whether each value could be cast is kept in a boolean
    column `<column>.type`. Every check bears the rule's name, whatever its severity: validate lazily
    and read `failure_cases["check"]`. `unique_key` is left to `pandera_verdicts`, since it concerns
    rows that break nothing else.

    Args:
        contract: the rules.
        row_rules: the contract's row rules in pandas, by name: frame to boolean series. Rules without
            one are left out (pandera has no SQL).
        timezone: IANA zone of timestamps written without an offset.
    """
    columns = {
        column.name: pa.Column(
            PANDAS_TYPES[column.type],
            checks=[
                check
                for rule in rules_of(contract)
                if rule.column == column.name
                for check in _value_checks(rule, column, timezone)
            ],
            nullable=True,  # the rule `nullable` also asks whether the value could be cast
            description=column.description or None,
        )
        for column in contract.columns
    }
    frame_checks = [
        check
        for rule in rules_of(contract)
        if rule.column is not None
        for check in _cast_checks(rule, contract.column(rule.column))
    ]
    for name, holds in (row_rules or {}).items():
        frame_checks.append(pa.Check(_null_is_true(holds), name=name, error=name, ignore_na=False))
    return pa.DataFrameSchema(
        columns,
        checks=frame_checks,
        parsers=pa.Parser(lambda frame: _parse(frame, contract, timezone)),
        strict=False,
        name="contract",
    )


def pandera_verdicts(
    contract: Contract,
    frame: pd.DataFrame,
    row_rules: RowRules | None = None,
    *,
    timezone: str = "UTC",
) -> list[set[str]]:
    """Return the names of the rules that each row breaks, warnings included, in the frame's order."""
    frame = frame.reset_index(drop=True)
    verdicts: list[set[str]] = [set() for _ in range(len(frame))]
    _record(pandera_schema(contract, row_rules, timezone=timezone), frame, verdicts)
    severities = {rule.name: rule.severity for rule in rules_of(contract)}
    sound = [
        index
        for index, broken in enumerate(verdicts)
        if not any(severities[name] == "error" for name in broken)
    ]
    unique = pa.DataFrameSchema(
        checks=pa.Check(
            lambda rows: ~rows.duplicated(contract.key, keep="first"),
            name=UNIQUE_KEY,
            error=UNIQUE_KEY,
        ),
        parsers=pa.Parser(lambda rows: _parse(rows, contract, timezone)),
    )
    _record(unique, frame.loc[sound], verdicts)
    return verdicts


def pandera_spark_schema(contract: Contract) -> Any:
    """Return the `pandera.pyspark` schema of validated rows: types, nullability and value rules.

    pandera's Spark backend counts but cannot say which rows failed, lets NaN pass, and has no row
    rules or keys in this form: for checks in foreign Spark code, and for comparison.
    """
    import pandera.pyspark as pas
    from pyspark.sql import types as T

    spark_types: dict[ColumnType, Any] = {
        "string": T.StringType(),
        "int32": T.IntegerType(),
        "int64": T.LongType(),
        "float32": T.FloatType(),
        "float64": T.DoubleType(),
        "boolean": T.BooleanType(),
        "date": T.DateType(),
        "timestamp": T.TimestampType(),
    }
    columns = {}
    for column in contract.columns:
        checks = []
        if column.min is not None:
            checks.append(pas.Check.greater_than_or_equal_to(_value(column.min, column.type)))
        if column.max is not None:
            checks.append(pas.Check.less_than_or_equal_to(_value(column.max, column.type)))
        if column.allowed is not None:
            checks.append(pas.Check.isin([_value(item, column.type) for item in column.allowed]))
        nullable = column.nullable and column.name not in contract.key
        columns[column.name] = pas.Column(spark_types[column.type], checks, nullable=nullable)
    return pas.DataFrameSchema(columns)


def _record(schema: pa.DataFrameSchema, frame: pd.DataFrame, verdicts: list[set[str]]) -> None:
    try:
        schema.validate(frame, lazy=True)
    except SchemaErrors as errors:
        cases = errors.failure_cases
        if cases["index"].isna().any():
            raise ValueError(f"pandera judged no rows: {cases.to_dict('records')}") from errors
        for index, name in zip(cases["index"], cases["check"], strict=True):
            verdicts[int(index)].add(name)


def _value_checks(rule: Rule, column: Column, timezone: str) -> list[pa.Check]:
    """Checks of one parsed value; missing values pass."""
    name = rule.name
    if rule.kind == "range":
        if column.type in ("int32", "int64"):
            low, high = integer_bounds(column)
            return [
                pa.Check(lambda values: (values >= low) & (values <= high), name=name, error=name)
            ]
        checks = []
        if column.min is not None:
            checks.append(
                pa.Check.ge(_value(column.min, column.type, timezone), name=name, error=name)
            )
        if column.max is not None:
            checks.append(
                pa.Check.le(_value(column.max, column.type, timezone), name=name, error=name)
            )
        return checks
    if rule.kind == "allowed":
        allowed = [_value(item, column.type, timezone) for item in column.allowed or []]
        return [pa.Check.isin(allowed, name=name, error=name)]
    if rule.kind == "pattern":
        pattern = portable_pattern(column.pattern or "", end=r"\Z")
        return [pa.Check(lambda values: values.str.fullmatch(pattern), name=name, error=name)]
    if rule.kind == "max_length":
        return [pa.Check.str_length(max_value=column.max_length, name=name, error=name)]
    return []


def _cast_checks(rule: Rule, column: Column) -> list[pa.Check]:
    """Checks of what the parser noted about the value as it was, and so of the whole frame."""
    name, castable = column.name, f"{column.name}.type"
    if rule.kind == "finite":
        return [pa.Check(lambda frame: frame[rule.name], name=rule.name, error=rule.name)]
    if rule.kind == "type":
        return [pa.Check(lambda frame: frame[castable], name=rule.name, error=rule.name)]
    if rule.kind == "nullable":
        if column.type != "string" and severity_of(column, "type") == "error":
            return [
                pa.Check(
                    lambda frame: frame[name].notna() | ~frame[castable],
                    name=rule.name,
                    error=rule.name,
                )
            ]
        return [
            pa.Check(
                lambda frame: frame[name].notna(), name=rule.name, error=rule.name, ignore_na=False
            )
        ]
    return []


def _null_is_true(
    holds: Callable[[pd.DataFrame], pd.Series],
) -> Callable[[pd.DataFrame], pd.Series]:
    return lambda frame: holds(frame).astype("boolean").fillna(True).astype(bool)


def _parse(frame: pd.DataFrame, contract: Contract, timezone: str) -> pd.DataFrame:
    parsed = {}
    for column in contract.columns:
        if column.name not in frame:
            continue  # pandera itself reports the missing column
        parsed |= _parse_column(pd.Series(frame[column.name]), column, timezone)
    return pd.DataFrame(parsed, index=frame.index)


def _parse_column(values: pd.Series, column: Column, timezone: str) -> dict[str, pd.Series]:
    """The parsed column, and what the rules `type` and `finite` say, as boolean columns."""
    parsed, castable = [], []
    for value in values:
        missing = value is None or value is pd.NA or value is pd.NaT or value != value
        try:
            parsed.append(None if missing else _value(value, column.type, timezone))
            castable.append(True)
        except ValueError:
            parsed.append(None)
            castable.append(False)
    series = pd.Series(parsed, index=values.index, dtype=PANDAS_TYPES[column.type])
    noted = {f"{column.name}.type": pd.Series(castable, index=values.index, dtype=bool)}
    if column.type in ("float32", "float64"):
        finite = pd.Series(~np.isinf(series), index=values.index)
        noted[f"{column.name}.finite"] = finite
        if severity_of(column, "finite") == "warn":
            series = series.where(finite)
    return {column.name: series, **noted}


def _value(value: Any, column_type: ColumnType, timezone: str = "UTC") -> Any:
    """A value as pandas compares it: dates as timestamps, float32 rounded to float32."""
    if isinstance(value, str):
        parsed: Any = parse_text(value, column_type, timezone=timezone)
    elif column_type in ("int32", "int64"):
        parsed = parse_text(str(value), column_type)
    else:
        parsed = value
    if column_type == "date":
        return pd.Timestamp(np.datetime64(parsed, "us"))
    if column_type == "timestamp":
        if parsed.tzinfo is not None:
            parsed = parsed.astimezone(UTC).replace(tzinfo=None)
        return pd.Timestamp(np.datetime64(parsed, "us")).tz_localize("UTC")
    return np.float32(parsed) if column_type == "float32" else parsed
