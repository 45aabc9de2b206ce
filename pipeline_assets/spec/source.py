"""Where raw data comes from and how its files are read. What the values must satisfy is in `contract`."""

import datetime as dt
from typing import Literal

from pydantic import Field, field_serializer

from pipeline_assets.spec.credentials import without_credentials
from pipeline_assets.spec.model_base import SpecModel

SourceFormat = Literal["csv", "jsonl", "parquet", "orc"]


class CsvOptions(SpecModel):
    """How delimited text is read. Encoding and null markers apply to JSON lines as well where they can."""

    header: bool = True
    """The first line of each file names the columns; without it the contract's order is taken."""
    delimiter: str = Field(default=",", min_length=1, max_length=1)
    """One character between fields."""
    quote: str = Field(default='"', min_length=1, max_length=1)
    """The character that encloses fields; doubled inside a field it stands for itself."""
    multiline: bool = True
    """Quoted fields may contain line ends; such files are split only at record boundaries."""
    encoding: str = "utf-8"
    """A Python codec name. A byte-order mark is recognised and removed whatever this says."""
    skip_initial_space: bool = False
    """Spaces after a delimiter do not belong to the field."""
    null_values: list[str] = ["", "NA", "N/A", "null", "NULL"]
    """Unquoted texts that stand for a missing value."""


class DemoData(SpecModel):
    """Generated landing files, written when the source folder does not exist yet.

    Only a folder below the home is filled: elsewhere a folder that is missing is a mistake to be told.
    """

    generator: str = "pipeline_assets.demo_data.bank_churn:generate"
    """Dotted path `module:function` of the generator."""
    rows: int = Field(default=20_000, ge=1)
    """Rows to generate (bad rows come on top); generators of events keep to it on average."""
    seed: int = 0
    """Seed of the generator."""
    bad_share: float = Field(default=0.01, ge=0, le=0.5)
    """Bad rows on top, as a share of `rows`, dealt evenly to all kinds of mistakes; 0 to 0.5."""
    shift: float = 0.0
    """Distribution shift in standard deviations of what the generator moves, for `bank_churn` age and
    log balance; 0 for none."""
    options: dict[str, bool | int | float | str | dt.date] = {}
    """Further arguments of the generator, by name."""


class Source(SpecModel):
    """A set of files in one format."""

    uri: str
    """A file, folder or glob, local or any fsspec URI. Names that begin with `_` or `.`, or end in `.tmp`,
    `.part` and the like, are skipped."""
    format: SourceFormat
    """File format."""
    csv: CsvOptions = CsvOptions()
    """Options of delimited text; `encoding` and `null_values` apply to JSON lines too."""
    columns: dict[str, str] = {}
    """Contract column name to the name it has in the files, where the two differ."""
    extra_columns: Literal["ignore", "fail"] = "ignore"
    """What to do with columns that the contract does not know. Ignored ones are reported."""
    split_bytes: int = Field(default=64 * 2**20, ge=1024)
    """Bytes of one reading task: larger files are split where the format allows."""
    demo: DemoData | None = None
    """Generate the landing files when nothing is at `uri`."""

    @field_serializer("uri")
    def _uri_to_be_kept(self, uri: str) -> str:
        """What is written into files and models holds no password."""
        return without_credentials(uri)
