"""Blocks that pyarrow parses: their cells are those of the standard library's strict parser, or it is not asked."""

import csv
import io
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from pixmill.tables import text_stream
from pixmill.tables.plain_blocks import parse_rows
from tests.fuzz.amount import examples

DELIMITERS = [",", "\t", ";", "|", " ", ":", "a"]
PIECES = [
    *('"', '""', '"""', '"\n', '",', ',"', '\r\n"', "'", "\\"),
    *(",", "\t", ";", "\n", "\r\n", "\n\n", "\r\n\r\n"),
    *("a", "b", " ", "é", "\0", "NA", "007", "1e5", "null"),
    *("\ufeff", "\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1a", "\x1c", "\u00a0"),
]


def strict_rows(text: str, delimiter: str) -> list[list[str]]:
    lines = io.StringIO(text, newline="\n")
    return [row for row in csv.reader(lines, delimiter=delimiter, strict=True) if row]


@st.composite
def odd_texts(draw: st.DrawFn) -> str:
    return "".join(draw(st.lists(st.sampled_from(PIECES), max_size=25)))


@st.composite
def written_tables(draw: st.DrawFn) -> str:
    """Rows as a writer makes them, at times with one piece too many, which is a mistake at most places."""
    cells = st.lists(st.sampled_from(PIECES), max_size=4).map("".join)
    rows = draw(st.lists(st.tuples(cells, cells), min_size=1, max_size=6))
    out = io.StringIO(newline="")
    end = draw(st.sampled_from(["\n", "\r\n"]))
    quoting: Literal[0, 1] = draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    csv.writer(out, lineterminator=end, quoting=quoting).writerows(rows)
    text = out.getvalue()
    if draw(st.booleans()):
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(st.sampled_from(PIECES)) + text[at:]
    return text


@examples(300)
@given(
    text=odd_texts() | written_tables(),
    delimiter=st.sampled_from(DELIMITERS) | st.just(","),
    width=st.integers(1, 3) | st.just(2),
)
def test_cells_of_plain_blocks_are_those_of_the_strict_parser(
    text: str, delimiter: str, width: int
) -> None:
    """G7, G10, G12: quotes, line ends, byte order marks and NUL characters wherever they may be."""
    text += "\n"
    if text.count("\r") != text.count("\r\n"):
        return  # such texts are never read in blocks
    parsed = parse_rows(text, delimiter, [str(at) for at in range(width)])
    if parsed is None:
        return
    assert text.endswith(parsed.rest)
    whole = text.removesuffix(parsed.rest) if parsed.rest else text
    expected = strict_rows(whole, delimiter)
    event(f"rows: {min(len(expected), 3)}, rest: {bool(parsed.rest)}")
    assert [list(row.values()) for row in parsed.rows.to_pylist()] == expected


@pytest.mark.parametrize(
    ("text", "rows", "rest"),
    [
        ('1,"a, b"\n2,c\n', [["1", "a, b"], ["2", "c"]], ""),
        ('1,"a ""b"" c"\r\n\r\n2,""\r\n', [["1", 'a "b" c'], ["2", ""]], ""),
        ('1,"two\nlines"\n2,"open\n', [["1", "two\nlines"]], '2,"open\n'),
        ('1,a\n"2\n"",",",""open\n', [["1", "a"]], '"2\n"",",",""open\n'),
        ("\n\n\n", [], ""),
        ("NA,null\n007,1e5\n,\n", [["NA", "null"], ["007", "1e5"], ["", ""]], ""),
    ],
)
def test_whole_rows_are_parsed_and_an_open_one_is_left(
    text: str, rows: list[list[str]], rest: str
) -> None:
    parsed = parse_rows(text, ",", ["a", "b"])
    assert parsed is not None
    assert [list(row.values()) for row in parsed.rows.to_pylist()] == rows
    assert parsed.rows.schema.types == [pa.string(), pa.string()]
    assert parsed.rest == rest


@pytest.mark.parametrize(
    "text",
    [
        '1,5" screen\n',
        '1, "a, b"\n',
        '1,a"\n2,""\n3,",\n',  # four quotes, of which the last opens a cell that does not end
        '1,"a"b\n',
        '1,"a" \n',
        "1,2,3\n",
        "1\n",
        '"1,open\n',
        "\ufeff1,2\n",
    ],
)
def test_what_is_not_plain_is_left_to_others(text: str) -> None:
    assert parse_rows(text, ",", ["a", "b"]) is None


@pytest.mark.parametrize("size", range(5, 16))
def test_blocks_go_on_where_one_was_read_up_to_the_middle_of_a_line_break(
    monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(text_stream, "_BLOCK", size)
    text = "1,2\r\n" * 100
    lines = text_stream.Lines(Path("table.csv"), io.StringIO(text, newline=""))
    assert "".join(iter(lines.take_block, "")) == text
