"""Landing files and a lake in a temporary folder, and one call that ingests them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline_assets.ingest import IngestResult, ingest
from pipeline_assets.lake import Lake, Version
from pipeline_assets.spec import Contract, Source

CONTRACT = Contract.model_validate(
    {
        "key": ["id"],
        "columns": [
            {"name": "id", "type": "int64"},
            {"name": "name", "type": "string", "nullable": True},
            {"name": "amount", "type": "float64", "nullable": True},
        ],
    }
)


@dataclass
class Raw:
    """A sealed version of raw and what ingest said about it."""

    version: Version
    result: IngestResult

    def table(self, folder: str = "rows") -> pa.Table | None:
        uris = self.version.uris(folder, ".parquet")
        return pa.concat_tables([pq.read_table(uri) for uri in uris]) if uris else None

    def rows(self) -> list[tuple]:
        """Values of the contract's columns, without source file and line."""
        table = self.table()
        columns = [] if table is None else [c.to_pylist() for c in table.columns[:-2]]
        return list(zip(*columns))

    def lines(self) -> list[int]:
        table = self.table()
        return [] if table is None else table["_source_line"].to_pylist()

    def malformed(self) -> list[tuple[str, int, str, str]]:
        table = self.table("malformed")
        return [] if table is None else list(zip(*[c.to_pylist() for c in table.columns]))


class Landing:
    """A landing folder."""

    def __init__(self, folder: Path, spark: Any) -> None:
        self.folder, self.spark = folder / "landing", spark
        self.folder.mkdir()
        self.lake = Lake(str(folder / "lake"))

    def write(self, name: str, content: bytes | str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def source(self, format: str = "csv", **options: Any) -> Source:
        return Source.model_validate({"uri": str(self.folder), "format": format, **options})

    def ingest(
        self,
        format: str = "csv",
        *,
        contract: Contract = CONTRACT,
        files: Any = None,
        timezone: str = "UTC",
        **options: Any,
    ) -> Raw:
        source = self.source(format, **options)
        staged = self.lake.dataset("shop", "raw").stage()
        result = ingest(self.spark, source, contract, staged, files=files, timezone=timezone)
        rows = result.rows + result.malformed_rows
        version = staged.seal(files=result.files, rows=rows, schema=result.columns)
        return Raw(version, result)


@pytest.fixture
def landing(tmp_path: Path, spark: Any) -> Landing:
    return Landing(tmp_path, spark)


@pytest.fixture
def landing_on(tmp_path: Path) -> Callable[[str, Any], Landing]:
    def make(name: str, session: Any) -> Landing:
        (tmp_path / name).mkdir()
        return Landing(tmp_path / name, session)

    return make
