"""Delimited files as the world writes them, through the engine."""

import bz2
import gzip
import lzma
from typing import Any

import pytest

from pipeline_assets.ingest import IngestError

ROWS = [("1", "Ann", "1.50"), ("2", None, "2"), ("3", 'a "b", c', None)]
TEXT = 'id,name,amount\n1,Ann,1.50\n2,NA,2\n3,"a ""b"", c",\n'


def test_values_stay_as_written_with_file_and_line(landing):
    landing.write("b/late.csv", 'id,name,amount\n\n9,"x\ny",007\n8,z,1\n')
    landing.write("a.csv", TEXT)
    landing.write("_ignored/x.csv", "nonsense")
    landing.write(".hidden", "nonsense")
    raw = landing.ingest()
    assert raw.rows() == [*ROWS, ("9", "x\ny", "007"), ("8", "z", "1")]
    table = raw.table()
    assert table["_source_file"].to_pylist() == ["a.csv"] * 3 + ["b/late.csv"] * 2
    assert raw.lines() == [2, 3, 4, 3, 5]
    assert raw.result.columns == [
        ("id", "string"),
        ("name", "string"),
        ("amount", "string"),
        ("_source_file", "string"),
        ("_source_line", "bigint"),
    ]
    assert [f.name for f in raw.result.source_files] == ["a.csv", "b/late.csv"]
    assert all(len(f.sha256) == 64 for f in raw.result.source_files)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    ("codec", "declared", "mark"),
    [
        ("utf-8", "utf-8", b""),
        ("utf-8", "utf-8", b"\xef\xbb\xbf"),
        ("utf-8", "latin-1", b"\xef\xbb\xbf"),
        ("latin-1", "latin-1", b""),
        ("cp1252", "windows-1252", b""),
        ("utf-16-le", "utf-8", b"\xff\xfe"),
        ("utf-16-be", "utf-16", b"\xfe\xff"),
        ("utf-16-le", "utf-16-le", b""),
        ("utf-32-le", "utf-8", b"\xff\xfe\x00\x00"),
    ],
)
def test_encodings_and_line_ends(landing, codec, declared, mark, end):
    text = "id,name,amount\n" + "".join(f"{i},Zoë {i},{i}.5\n" for i in range(200))
    landing.write("a.csv", mark + text.replace("\n", end).encode(codec))
    raw = landing.ingest(csv={"encoding": declared}, split_bytes=1024)
    assert raw.rows() == [(str(i), f"Zoë {i}", f"{i}.5") for i in range(200)]
    assert raw.lines() == list(range(2, 202))
    assert raw.malformed() == []


@pytest.mark.parametrize(
    ("name", "pack"),
    [("a.csv.gz", gzip.compress), ("a.csv.bz2", bz2.compress), ("a.csv.XZ", lzma.compress)],
)
def test_compressed_files(landing, name, pack):
    landing.write(name, pack(TEXT.encode()))
    assert landing.ingest().rows() == ROWS
    landing.write(name, pack(TEXT.encode() * 1000)[:-20])
    with pytest.raises(IngestError, match="compressed file is damaged"):
        landing.ingest()


@pytest.mark.parametrize(
    ("text", "options"),
    [
        (TEXT.split("\n", 1)[1], {"header": False}),
        (TEXT.replace(",", ";").replace("; c", ", c"), {"delimiter": ";"}),
        (TEXT.replace('"', "'").replace("''b''", '"b"'), {"quote": "'"}),
        (TEXT.replace(",", ", ").replace(",  c", ", c"), {"skip_initial_space": True}),
        (TEXT.replace("NA", "?"), {"null_values": ["?", ""]}),
        (TEXT.replace(",", "§").replace("§ c", ", c"), {"delimiter": "§"}),
    ],
)
def test_dialects(landing, text, options):
    landing.write("a.csv", text)
    assert landing.ingest(csv=options).rows() == ROWS


def test_columns_may_be_reordered_renamed_and_extra_in_each_file(landing):
    landing.write("a.csv", "amount, id ,extra,name\n1,2,x,n\n")
    landing.write("b.csv", "name,other,id,amount\nm,x,3,4\n")
    raw = landing.ingest()
    assert raw.rows() == [("2", "n", "1"), ("3", "m", "4")]
    assert raw.result.ignored_columns == ["extra", "other"]
    with pytest.raises(IngestError, match=r"a\.csv.*contract does not know: extra"):
        landing.ingest(extra_columns="fail")
    landing.write("a.csv", "Betrag,id,name\n1,2,n\n")
    (landing.folder / "b.csv").unlink()
    assert landing.ingest(columns={"amount": "Betrag"}).rows() == [("2", "n", "1")]


def test_malformed_lines_are_kept_verbatim(landing):
    landing.write(
        "a.csv",
        b'id,name,amount\n1,x\n2,y,1,5\n3,\xff\xfe,1\n4,ok,1\n5,"open,1\n6,"fine"s,1\n',
    )
    raw = landing.ingest(csv={"multiline": False})
    assert raw.rows() == [("4", "ok", "1"), ("6", "fines", "1")]
    assert raw.malformed() == [
        ("a.csv", 2, "wrong number of fields: 2 instead of 3", "1,x"),
        ("a.csv", 3, "wrong number of fields: 4 instead of 3", "2,y,1,5"),
        ("a.csv", 4, "undecodable bytes: not utf-8", r"3,\xff\xfe,1"),
        ("a.csv", 6, "unterminated quote", '5,"open,1'),
    ]
    assert raw.result.malformed_by_reason == {
        "undecodable bytes": 1,
        "unterminated quote": 1,
        "wrong number of fields": 2,
    }
    assert (raw.result.rows, raw.result.malformed_rows) == (2, 4)


@pytest.mark.parametrize(
    ("codec", "wrong", "shown"),
    [
        ("cp1252", b"\x81", r"\x81"),
        ("utf-16-le", b"\x00\xdc", r"\x00\xdc"),
        ("shift_jis", b"\xfd", r"\xfd"),
    ],
)
def test_undecodable_bytes_of_other_encodings(landing, codec, wrong, shown):
    good, before, after = ("id,name,amount\n1,a,1\n", "2,", ",2\n3,b,3\n")
    content = good.encode(codec) + before.encode(codec) + wrong + after.encode(codec)
    landing.write("a.csv", content)
    raw = landing.ingest(csv={"encoding": codec})
    assert raw.rows() == [("1", "a", "1"), ("3", "b", "3")]
    assert raw.malformed() == [("a.csv", 3, f"undecodable bytes: not {codec}", f"2,{shown},2")]


def test_long_strings_and_a_wide_multiline_field(landing):
    long, wide = "x" * 10_000, "line\n" * 2_000
    landing.write("a.csv", f'id,name,amount\n1,{long},1\n2,"{wide}",2\n3,c,3\n')
    for split_bytes in (1024, 2**26):
        raw = landing.ingest(split_bytes=split_bytes)
        assert raw.rows() == [("1", long, "1"), ("2", wide, "2"), ("3", "c", "3")]
        assert raw.lines() == [2, 3, 2004]


@pytest.mark.parametrize("multiline", [True, False])
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_splits_never_change_the_rows(landing, multiline, encoding):
    lines = ["id,name,amount"]
    for i in range(600):
        odd = ["plain", '"quoted, é"', '"two\nlines"', 'o"dd', '"in"side', "", "bad,bad"][i % 7]
        lines.append(f"{i},{odd},{i / 3}")
        if i % 50 == 0:
            lines.append("")
    landing.write("a.csv", "\r\n".join(lines).encode(encoding))
    options: dict[str, Any] = {"csv": {"multiline": multiline, "encoding": encoding}}
    whole = landing.ingest(split_bytes=2**30, **options)
    assert len(whole.rows()) > 300 and whole.malformed()
    for split_bytes in (1024, 1500, 4096):
        split = landing.ingest(split_bytes=split_bytes, **options)
        assert len(split.version.uris("rows")) > 2
        for folder in ("rows", "malformed"):
            assert split.table(folder).equals(whole.table(folder))
        assert split.result.source_files == whole.result.source_files


def test_the_same_source_elsewhere_gives_the_same_version(landing, tmp_path):
    landing.write("a.csv", TEXT)
    first = landing.ingest().version.data_version
    moved = tmp_path / "elsewhere"
    landing.folder.rename(moved)
    assert landing.ingest(uri=str(moved)).version.data_version == first
    assert landing.ingest(uri=str(moved / "*.csv")).version.data_version == first
    assert landing.ingest(uri=(moved / "a.csv").as_uri()).version.data_version == first


def test_any_fsspec_uri(landing):
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.pipe("/shop/in/a.csv", TEXT.encode())
    memory.pipe("/shop/in/_b.csv", b"nonsense")
    raw = landing.ingest(uri="memory://shop/in")
    assert raw.rows() == ROWS
    assert [(f.uri, f.name) for f in raw.result.source_files] == [
        ("memory:///shop/in/a.csv", "a.csv")
    ]
    assert landing.ingest(uri="memory://shop/in/*.csv").rows() == ROWS
