"""The text of generated landing files: customers as CSV lines, bad lines between them."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from pipeline_assets.demo_data.bad_rows import Spoiled, broken_line
from pipeline_assets.demo_data.customers import Customers

COLUMNS = [
    *("RowNumber", "CustomerId", "Surname", "CreditScore", "Geography", "Gender", "Age", "Tenure"),
    *("Balance", "NumOfProducts", "HasCrCard", "IsActiveMember", "EstimatedSalary", "Exited"),
]

MISSING_SHARES = {
    "CreditScore": 0.01,
    "Gender": 0.01,
    "Tenure": 0.02,
    "Balance": 0.015,
    "EstimatedSalary": 0.02,
}
"""Share of values that are missing, by column."""


def as_text(customers: Customers, numbers: np.ndarray, ids: np.ndarray) -> pa.Table:
    """The rows as they are in the file, one string column per field."""
    values = [
        numbers,
        ids,
        customers.surname,
        customers.credit_score,
        customers.geography,
        customers.gender,
        customers.age,
        customers.tenure,
        customers.balance,
        customers.products,
        customers.has_card,
        customers.active,
        customers.salary,
        customers.exited,
    ]
    return pa.table([pa.array(value).cast(pa.string()) for value in values], names=COLUMNS)


def blank(column: pa.ChunkedArray, missing: pa.Array) -> pa.Array:
    """The column without the values that are to be missing."""
    nothing = pa.scalar(None, pa.string())
    return pc.if_else(missing, nothing, column)  # pyright: ignore[reportAttributeAccessIssue]


def csv_lines(table: pa.Table) -> bytes:
    """Lines of CSV without header or quotes."""
    sink = pa.BufferOutputStream()
    options = pa_csv.WriteOptions(include_header=False, quoting_style="none")
    pa_csv.write_csv(table, sink, options)
    return sink.getvalue().to_pybytes()


def splice(text: bytes, spoiled: list[Spoiled], after: np.ndarray) -> bytes:
    """Insert bad lines, each after the valid line of the given index."""
    ends = np.flatnonzero(np.frombuffer(text, np.uint8) == 10) + 1
    parts, done = [], 0
    for index in np.argsort(after, kind="stable"):
        cut = int(ends[after[index]]) if len(ends) else 0
        parts += [text[done:cut], broken_line(spoiled[index], COLUMNS)]
        done = cut
    return b"".join([*parts, text[done:]])
