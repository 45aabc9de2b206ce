"""Files split by the inspecting task and read by the reading task: any text, any size of split."""

import json
import tempfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline_assets.ingest import tasks
from pipeline_assets.ingest.dialect import Dialect

NAMES = ["a", "b"]


def run(function: Any, task: dict[str, Any]) -> dict[str, Any]:
    (result,) = function(iter([task]))
    return json.loads(result["result"])


def read(folder: Path, file: Path, dialect: Dialect, header: bool, split: int, bom: int) -> list:
    """Rows and malformed records of a file, read in splits."""
    common = {"format": "csv", "dialect": dialect.to_json()}
    seen = run(
        tasks.inspect,
        {**common, "uri": str(file), "bytes": 0, "bom": bom, "split_bytes": split},
    )
    assert seen["bytes"] == file.stat().st_size
    found: list = [[], []]
    for part, (start, end, line, digest) in enumerate(seen["segments"]):
        segment = {
            **{"uri": str(file), "name": "f", "codec": "utf-8", "width": 2, "positions": [0, 1]},
            **{"start": start, "end": end, "skip": 0, "first_line": line},
            "header": header and part == 0,
        }
        task = {
            **{"names": NAMES, "types": ["string"] * 2, "segments": [segment], "part": part},
            **{"target": str(folder), "storage_options": {}, **common},
        }
        done = run(tasks.read, task)
        assert done["digests"] == [[end - start, digest]]
        for entry in done["files"]:
            table = pq.read_table(folder / entry["path"])
            found["malformed" in entry["path"]] += table.to_pylist()
    return found


@settings(max_examples=150, deadline=None)
@given(
    text=st.text(alphabet='ab, "\r\né', max_size=120),
    multiline=st.booleans(),
    header=st.booleans(),
    bom=st.booleans(),
    split=st.integers(1, 60),
    longest=st.sampled_from([8, 64, 10**6]),
)
@example(text="\n\n\na,b\n\n1,2\n", multiline=True, header=True, bom=True, split=1, longest=10**6)
def test_any_split_gives_the_same_rows(text, multiline, header, bom, split, longest):
    dialect = Dialect(multiline=multiline, max_record_bytes=longest)
    mark = b"\xef\xbb\xbf" if bom else b""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = folder / "f.csv"
        file.write_bytes(mark + text.encode())
        whole = read(folder, file, dialect, header, 10**9, len(mark))
        assert read(folder, file, dialect, header, split, len(mark)) == whole
