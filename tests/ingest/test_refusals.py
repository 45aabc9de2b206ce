"""Sources that cannot be read: what the person who has to mend them is told."""

import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline_assets.ingest import IngestError, discover, run, text_stream
from pipeline_assets.spec import Contract

HEADER = "id,name,amount\n"


def refused(landing, **options) -> str:
    with pytest.raises(IngestError) as caught:
        landing.ingest(**options)
    return str(caught.value).replace(str(landing.folder), "landing")


def test_nothing_there(landing):
    assert "landing/nowhere: nothing is there" in refused(
        landing, uri=str(landing.folder / "nowhere")
    )
    assert "holds no files" in refused(landing)
    assert "holds no files" in refused(landing, uri=str(landing.folder / "*.csv"))


def test_empty_files(landing):
    landing.write("a.csv", "")
    landing.write("b.csv", "\n\n")
    assert "landing/a.csv, landing/b.csv empty" in refused(landing)
    landing.write("c.csv", HEADER + "1,x,2\n")
    raw = landing.ingest()
    assert raw.rows() == [("1", "x", "2")]
    assert [w.replace(str(landing.folder), "") for w in raw.result.warnings] == [
        "/a.csv is empty: left out",
        "/b.csv is empty: left out",
    ]


def test_header_only_gives_no_rows(landing):
    landing.write("a.csv", HEADER)
    raw = landing.ingest()
    assert (raw.result.rows, raw.result.files) == (0, [])


def test_wrong_delimiter(landing):
    landing.write("a.csv", HEADER.replace(",", ";") + "1;x;2\n")
    text = refused(landing)
    assert "the header is a single column 'id;name;amount'" in text
    assert "set source.csv.delimiter: ';'" in text
    landing.write("a.csv", "1\tx\t2\n")
    text = refused(landing, csv={"header": False})
    assert "none of the first 1 records has the contract's 3 fields, most have 1" in text
    assert r'set source.csv.delimiter: "\t"' in text


def test_missing_and_renamed_columns(landing):
    landing.write("a.csv", "id,Name,total\n1,x,2\n")
    text = refused(landing)
    assert "landing/a.csv: missing columns 'name' (nearest is 'Name'" in text
    assert "source.columns: {name: Name}), 'amount'; the file has 'id', 'Name', 'total'" in text
    landing.write("a.csv", "1,x,2\n2,y,3\n")
    assert "set source.csv.header: false" in refused(landing)
    landing.write("a.csv", "id,name,name,amount\n")
    assert "the column 'name' is there more than once" in refused(landing)


def test_wrong_encodings(landing):
    landing.write("a.csv", "id,näme,amount\n".encode("latin-1"))
    assert "the header is not utf-8; set source.csv.encoding" in refused(landing)
    assert "'klingon' is not a codec" in refused(landing, csv={"encoding": "klingon"})


def test_an_unclosed_quote_in_the_header(landing):
    landing.write("a.csv", 'id,"name,amount\n1,x,2\n')
    assert "a quote in the header is never closed" in refused(landing)


def test_impossible_dialects(landing):
    landing.write("a.csv", HEADER)
    assert "delimiter and quote are both" in refused(landing, csv={"delimiter": '"'})
    assert "which ends lines" in refused(landing, csv={"delimiter": "\n"})


@pytest.mark.parametrize("cut", [0.5, 0.99, 0.0])
def test_truncated_parquet(landing, cut):
    path = landing.folder / "a.parquet"
    pq.write_table(pa.table({"id": [1], "name": ["x"], "amount": [1.0]}), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * cut)])
    text = refused(landing, format="parquet")
    assert "a.parquet" in text
    assert ("empty" if cut == 0 else "perhaps damaged or truncated") in text


def test_damage_inside_parquet(landing):
    path = landing.folder / "a.parquet"
    table = pa.table({"id": range(9999), "name": ["x"] * 9999, "amount": [1.0] * 9999})
    pq.write_table(table, path, compression="gzip")
    content = bytearray(path.read_bytes())
    content[40:140] = bytes(100)
    path.write_bytes(content)
    assert "landing/a.parquet: not a readable Parquet file" in refused(landing, format="parquet")


def test_unreadable_file(landing, monkeypatch):
    landing.write("a.csv", HEADER)

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(text_stream.fsspec, "open", refuse)
    assert "landing/a.csv: may not be read (Permission denied)" in refused(landing)


@pytest.mark.parametrize("split_bytes", [1024, 2**26])
def test_a_source_that_changes_while_it_is_read(landing, monkeypatch, split_bytes):
    path = landing.write("a.csv", HEADER + "1,x,2\n" * 1000)
    look = run.make_plan

    def grow(*arguments, **options):
        plan = look(*arguments, **options)
        with path.open("a") as file:
            file.write("2,y,3\n")
        return plan

    monkeypatch.setattr(run, "make_plan", grow)
    assert "the source changed while it was being read: landing/a.csv" in refused(
        landing, split_bytes=split_bytes
    )


def test_a_file_that_arrives_while_others_are_read(landing, monkeypatch):
    landing.write("a.csv", HEADER + "1,x,2\n")
    look = run.make_plan

    def arrive(*arguments, **options):
        landing.write("b.csv", HEADER)
        return look(*arguments, **options)

    monkeypatch.setattr(run, "make_plan", arrive)
    assert "while it was being read: landing/b.csv is new" in refused(landing)


def test_other_content_of_the_same_size_between_two_passes(landing, monkeypatch):
    path = landing.write("a.csv", HEADER + "1,x,2\n" * 1000)
    before = path.stat()
    inspect = run._inspect

    def swap(*arguments):
        found = inspect(*arguments)
        path.write_text(HEADER + "1,x,3\n" * 1000)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        return found

    monkeypatch.setattr(run, "_inspect", swap)
    assert "a.csv has other content" in refused(landing, split_bytes=1024)


def test_a_source_that_is_not_what_was_discovered(landing):
    path = landing.write("a.csv", HEADER + "1,x,2\n")
    found = discover(landing.source())
    assert landing.ingest(files=found).result.source_files == found
    stat = path.stat()
    path.write_text(HEADER + "1,x,3\n")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert "a.csv has other content" in refused(landing, files=found)
    landing.write("b.csv", HEADER)
    assert "b.csv is new" in refused(landing, files=found)


def test_json_lines_without_a_required_key(landing):
    landing.write("a.jsonl", '{"ID": 1, "name": "x"}\n')
    text = refused(landing, format="jsonl")
    assert "no 'id' in the first 1 objects; nearest is 'ID'" in text
    contract = Contract.model_validate(
        {"key": ["name"], "columns": [{"name": "name", "type": "string"}]}
    )
    assert landing.ingest("jsonl", contract=contract).rows() == [("x",)]
    assert "does not know: ID" in refused(
        landing, format="jsonl", contract=contract, extra_columns="fail"
    )
