"""`dg scaffold defs pipeline_assets.MLPipeline <name>`: a first `defs.yaml` for a new data set.

With a sample file the columns and their types are read from it, so that the result already loads; what
the values must satisfy, and which features make sense, remains for the person who knows the data.
"""

from contextlib import suppress
from pathlib import Path
from typing import Literal

import click
from dagster.components.component_scaffolding import scaffold_component
from dagster.components.scaffold.scaffold import Scaffolder, ScaffoldRequest
from pydantic import BaseModel, Field


class UseCaseParams(BaseModel):
    """Options of the scaffold command."""

    source: str = Field(default="", description="A CSV or Parquet file to take the columns from.")
    source_format: Literal["csv", "parquet"] | None = Field(
        default=None, description="Format of the source; by its file ending where not given."
    )
    key: str = Field(default="id", description="The column that identifies a row.")
    label: str = Field(default="label", description="The column to predict (1 is positive).")


class UseCaseScaffolder(Scaffolder[UseCaseParams]):
    """Writes `defs.yaml` with contract and features for every column of a sample file."""

    @classmethod
    def get_scaffold_params(cls) -> type[UseCaseParams]:
        """The command's options."""
        return UseCaseParams

    def scaffold(self, request: ScaffoldRequest[UseCaseParams]) -> None:
        """Write the folder's `defs.yaml`."""
        try:
            attributes = starting_attributes(request.params or UseCaseParams())
        except (OSError, ValueError) as error:  # PyArrow's errors are among them
            # The folder was made before its content was asked for; empty, it would stop the next try.
            with suppress(OSError):
                request.target_path.rmdir()
            raise click.ClickException(f"no columns from --source: {error}") from None
        scaffold_component(request, attributes)


def starting_attributes(params: UseCaseParams) -> dict[str, object]:
    """Attributes of a new use case.

    Columns come from `params.source`; without one, a key, one number and a label stand in as examples
    that the user replaces.

    Raises:
        ValueError: the key or label is not a column of the source.
    """
    file_format = params.source_format or (
        "parquet" if params.source.endswith(".parquet") else "csv"
    )
    columns = (
        _columns_of(params.source, file_format)
        if params.source
        else {params.key: "string", "amount": "float64", params.label: "int32"}
    )
    for role, name in (("key", params.key), ("label", params.label)):
        if name not in columns:
            raise ValueError(
                f"{role} {name!r} is not a column of {params.source}; it has: {', '.join(columns)}"
            )
    return {
        "source": {
            "uri": str(Path(params.source).resolve()) if params.source else "data/landing/new",
            "format": file_format,
        },
        "contract": {
            "key": [params.key],
            "columns": [
                {"name": name, "type": kind, "nullable": name not in (params.key, params.label)}
                for name, kind in columns.items()
            ],
        },
        "features": {
            "columns": [
                {
                    "name": name,
                    "kind": "categorical" if kind in ("string", "boolean") else "numeric",
                }
                for name, kind in columns.items()
                if name not in (params.key, params.label) and kind not in ("date", "timestamp")
            ],
            "label": {"column": params.label, "positive": 1},
        },
        # Batches of a size that gives small files enough steps, too.
        "training": {"batch_size": _batch_size(params.source, file_format), "patience": 10},
        "evaluation": {"gate": {"baseline": "logistic_regression", "tolerance": 0.01}},
    }


def _batch_size(source: str, file_format: str) -> int:
    """A power of two that gives about forty steps an epoch, from 32 to 1024."""
    rows = _rows_of(source, file_format) if source else 10_000
    return 2 ** min(max(int(rows / 40).bit_length() - 1, 5), 10)


def _rows_of(source: str, file_format: str) -> int:
    """Rows of a file; for CSV estimated from its first block."""
    import pyarrow.csv
    import pyarrow.parquet

    if file_format == "parquet":
        return pyarrow.parquet.read_metadata(source).num_rows
    size, block = Path(source).stat().st_size, 1 << 20
    options = pyarrow.csv.ReadOptions(block_size=block)
    with pyarrow.csv.open_csv(source, read_options=options) as reader:
        rows = reader.read_next_batch().num_rows
    return round(rows * max(size / block, 1))


def _columns_of(source: str, file_format: str) -> dict[str, str]:
    """Column names and contract types, inferred from the first block of a file."""
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    schema = (
        pyarrow.parquet.read_schema(source)
        if file_format == "parquet"
        else pyarrow.csv.open_csv(source).schema
    )

    def contract_type(kind: pa.DataType) -> str:
        if pa.types.is_boolean(kind):
            return "boolean"
        if pa.types.is_integer(kind):
            return "int64"
        if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
            return "float64"
        if pa.types.is_date(kind):
            return "date"
        return "timestamp" if pa.types.is_timestamp(kind) else "string"

    return {field.name: contract_type(field.type) for field in schema}
