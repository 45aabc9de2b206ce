"""The record finder against Python's csv module: any text, any block size, any split."""

import csv
import io

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline_assets.ingest.delimited import DelimitedParser
from pipeline_assets.ingest.dialect import Dialect
from pipeline_assets.ingest.records import find_records
from pipeline_assets.ingest.text_records import read_batches

NASTY = st.text(alphabet='ab1 ,;"\r\n\té', max_size=60)
FIELDS = st.text(alphabet='ab ,"\r\né', max_size=6)


def parse(text: bytes, dialect: Dialect, width: int, block: int) -> tuple[list, list, list]:
    parser = DelimitedParser(dialect, codec="utf-8", width=width, columns=list(range(width)))
    blocks = (text[i : i + block] for i in range(0, len(text), block))
    rows, lines, malformed = [], [], []
    for batch in read_batches(blocks, parser.parse, first_line=1, block_bytes=block):
        rows += zip(*[column.to_pylist() for column in batch.columns])
        lines += batch.lines.to_pylist()
        malformed += batch.malformed
    return rows, lines, malformed


def oracle(text: str, **options) -> list[tuple[int, list[str]]]:
    """Line and fields of every record that is not blank, as Python's csv module reads them."""
    reader = csv.reader(io.StringIO(text, newline=""), **options)
    records, line = [], 1
    for record in reader:
        if record:
            records.append((line, record))
        line = reader.line_num + 1
    return records


def ends_inside_quotes(text: str, **options) -> bool:
    """Whether a quote is never closed, which the csv module accepts and we do not."""
    last_record = list(csv.reader(io.StringIO(text + "\r\n#", newline=""), **options))
    return not (last_record and last_record[-1] == ["#"])


@settings(max_examples=300, deadline=None)
@given(text=NASTY, width=st.integers(1, 4), block=st.integers(1, 40), spaces=st.booleans())
@example(text='a,"b\n,c', width=2, block=3, spaces=False)
@example(text='"a"b,"c""d"\r', width=2, block=1, spaces=False)
@example(text='a, "b"\na, b\n', width=2, block=5, spaces=True)
def test_same_records_as_the_csv_module(text: str, width: int, block: int, spaces: bool):
    if ends_inside_quotes(text, skipinitialspace=spaces):
        return
    dialect = Dialect(null_values=(), skip_initial_space=spaces)
    rows, lines, malformed = parse(text.encode(), dialect, width, block)
    expected = oracle(text, skipinitialspace=spaces)
    assert list(zip(lines, map(list, rows))) == [r for r in expected if len(r[1]) == width]
    assert [m.line for m in malformed] == [
        line for line, fields in expected if len(fields) != width
    ]


@settings(max_examples=150, deadline=None)
@given(
    table=st.lists(st.tuples(FIELDS, FIELDS, FIELDS), max_size=12),
    block=st.integers(1, 40),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    delimiter=st.sampled_from([",", ";", "\t", "§"]),
)
def test_what_the_csv_module_writes_comes_back(table, block, quoting, end, delimiter):
    if any(end in field for row in table for field in row for end in "\r\n"):
        quoting = csv.QUOTE_ALL  # minimal quoting of Python 3.11 forgets line ends
    out = io.StringIO(newline="")
    csv.writer(out, quoting=quoting, lineterminator=end, delimiter=delimiter).writerows(table)
    dialect = Dialect(null_values=(), delimiter=delimiter.encode())
    rows, _, malformed = parse(out.getvalue().encode(), dialect, 3, block)
    assert rows == table
    assert malformed == []


@settings(max_examples=150, deadline=None)
@given(text=NASTY, block=st.integers(1, 40), multiline=st.booleans(), longest=st.integers(5, 80))
@example(text="a,b\r\nc,d\r\n", block=4, multiline=True, longest=80)
@example(text='"aaaa\nbbbb",c\nd,e\n', block=3, multiline=True, longest=5)
@example(text='"a"b,"c"d""\n"e"",f\n', block=3, multiline=True, longest=80)
def test_blocks_never_change_the_result(text, block, multiline, longest):
    dialect = Dialect(multiline=multiline, max_record_bytes=longest)
    data = text.encode()
    assert parse(data, dialect, 2, block) == parse(data, dialect, 2, 10_000)


@settings(max_examples=150, deadline=None)
@given(text=NASTY, multiline=st.booleans(), longest=st.integers(5, 80))
def test_every_start_of_a_record_is_a_valid_split(text, multiline, longest):
    dialect = Dialect(multiline=multiline, max_record_bytes=longest)
    data = text.encode()
    whole = parse(data, dialect, 2, 1000)
    for start in find_records(data, dialect, final=True).start:
        first, second = (parse(part, dialect, 2, 1000) for part in (data[:start], data[start:]))
        assert whole[0] == first[0] + second[0]


def test_lines_when_no_field_may_hold_a_line_end():
    rows, lines, malformed = parse(b'a,"b\nc,d\n"e,f\n"g",h\n', Dialect(multiline=False), 2, 1000)
    assert rows == [("c", "d"), ("g", "h")]
    assert lines == [2, 4]
    assert [(m.line, m.reason, m.text) for m in malformed] == [
        (1, "unterminated quote", 'a,"b'),
        (3, "unterminated quote", '"e,f'),
    ]


def test_an_unclosed_quote_costs_one_line_only():
    rows, lines, malformed = parse(b'a,b\n"c,d\ne,f\n', Dialect(), 2, 1000)
    assert rows == [("a", "b"), ("e", "f")]
    assert lines == [1, 3]
    assert [(m.line, m.reason) for m in malformed] == [(2, "unterminated quote")]


def test_undecodable_bytes_cost_one_record_only():
    rows, _, malformed = parse("é,1\n".encode() + b"\xff\xfe,2\nc,3\n", Dialect(), 2, 1000)
    assert rows == [("é", "1"), ("c", "3")]
    assert [(m.line, m.reason, m.text) for m in malformed] == [
        (2, "undecodable bytes: not utf-8", r"\xff\xfe,2")
    ]


@pytest.mark.parametrize("spaces", [False, True])
def test_null_markers_only_unquoted(spaces):
    dialect = Dialect(null_values=("", "NA"), skip_initial_space=spaces)
    rows, _, _ = parse(b'NA,"NA"\n,""\n"x"y,NAN\nNA,q\n', dialect, 2, 1000)
    assert rows == [(None, "NA"), (None, ""), ("xy", "NAN"), (None, "q")]
