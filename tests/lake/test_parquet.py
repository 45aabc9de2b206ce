"""Parquet bytes depend on the rows and their order alone."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline_assets.lake import FileEntry, LakeError
from pipeline_assets.lake.parquet import ROW_GROUP_ROWS, ParquetPart, write_parquet

ROWS = 2 * ROW_GROUP_ROWS + 12_345


def _table() -> pa.Table:
    return pa.table(
        {
            "id": pa.array(range(ROWS), pa.int64()),
            "text": pa.array([None if i % 11 == 0 else f"value {i % 1000}" for i in range(ROWS)]),
            "list": pa.array([[str(i)] * (i % 3) for i in range(ROWS)], pa.list_(pa.string())),
        }
    )


def test_bytes_do_not_depend_on_batches_or_spelling(tmp_path: Path) -> None:
    table = _table()
    expected = write_parquet(table, f"{tmp_path}/a.parquet", path="rows/a.parquet")
    spelled = table.cast(
        pa.schema(
            [
                pa.field("id", pa.int64(), nullable=False),
                pa.field("text", pa.large_string()),
                pa.field("list", pa.list_(pa.field("item", pa.large_string(), nullable=True))),
            ],
            metadata={"pandas": "{}"},
        )
    )
    for batch_rows in (1000, 65_536, ROW_GROUP_ROWS + 1):
        with ParquetPart(f"file://{tmp_path}/b.parquet", spelled.schema) as part:
            for batch in spelled.to_batches(batch_rows):
                part.write(batch)
        assert part.entry.sha256 == expected.sha256
    assert expected == FileEntry(
        path="rows/a.parquet",
        bytes=(tmp_path / "a.parquet").stat().st_size,
        sha256=part.entry.sha256,
        rows=ROWS,
    )
    read = pq.ParquetFile(tmp_path / "b.parquet")
    groups = [read.metadata.row_group(i).num_rows for i in range(read.metadata.num_row_groups)]
    assert groups == [ROW_GROUP_ROWS, ROW_GROUP_ROWS, 12_345]
    assert read.read().equals(table.cast(read.schema_arrow))


def test_texts_have_dictionaries_and_numbers_have_none(tmp_path: Path) -> None:
    write_parquet(_table(), f"{tmp_path}/a.parquet")
    group = pq.ParquetFile(tmp_path / "a.parquet").metadata.row_group(0)
    columns = [group.column(i) for i in range(3)]
    assert {c.path_in_schema: c.has_dictionary_page for c in columns} == {
        "id": False, "text": True, "list.list.element": True,
    }  # fmt: skip


def test_dictionaries_and_time_zones_have_one_spelling(tmp_path: Path) -> None:
    plain = pa.table(
        {
            "c": pa.array(["a", "b", None]),
            "t": pa.array([0, 1, None], pa.timestamp("us", tz="UTC")),
        }
    )
    other = pa.table(
        {
            "c": plain["c"].dictionary_encode(),
            "t": plain["t"].cast(pa.timestamp("us", tz="Europe/Berlin")),
        }
    )
    hashes = {write_parquet(t, f"{tmp_path}/x.parquet").sha256 for t in (plain, other)}
    assert len(hashes) == 1


def test_an_empty_table_is_a_readable_file(tmp_path: Path) -> None:
    entry = write_parquet(_table().slice(0, 0), f"{tmp_path}/a.parquet")
    assert entry.rows == 0
    assert pq.read_table(tmp_path / "a.parquet").num_rows == 0


def test_an_error_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), ParquetPart(f"{tmp_path}/a.parquet", _table().schema) as part:
        part.write(_table())
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="not complete"):
        _ = part.entry


def test_columns_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(pa.ArrowInvalid, match="do not fit"),
        ParquetPart(f"{tmp_path}/a.parquet", _table().schema) as part,
    ):
        part.write(pa.table({"other": [1]}))


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LakeError, match=r"cannot write .*file/a\.parquet"):
        write_parquet(_table().slice(0, 1), f"{tmp_path}/file/a.parquet")
