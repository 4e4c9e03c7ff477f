"""CSV and TSV: text stays text, every row is accounted for, and what can't be read says where."""

import csv
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixmill.errors import TableError
from pixmill.tables import InputTable, delimiter_hint, open_table
from tests.pixmill.tables.reading import failure, only_batch, open_content, rows_of

PROMPTS = Path("../shared/data/parti-prompts.tsv")


def opened(
    folder: Path, content: str | bytes, name: str = "t.csv", **options: str
) -> InputTable:
    return open_content(folder / name, content, **options)


@pytest.mark.parametrize(
    "cell",
    [
        "NA",
        "None",
        "null",
        "NaN",
        "0",
        "False",
        "1e5",
        "007",
        "",
        " x ",
        "-",
        "2026-01-01",
    ],
)
def test_every_cell_is_the_text_that_stands_in_the_file(
    tmp_path: Path, cell: str
) -> None:
    """G10."""
    table = opened(tmp_path, f"a,b\n{cell},x\n")
    assert table.schema == pa.schema([("a", pa.string()), ("b", pa.string())])
    assert rows_of(table) == [{"a": cell, "b": "x"}]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("last", [True, False])
def test_line_ends_of_all_systems_give_equal_tables(
    tmp_path: Path, end: str, last: bool
) -> None:
    """G6."""
    lines = ["id,text", "1,a", "2,", "3,c"]
    table = opened(tmp_path, end.join(lines) + end * last)
    assert rows_of(table) == [
        {"id": "1", "text": "a"},
        {"id": "2", "text": ""},
        {"id": "3", "text": "c"},
    ]


def test_line_ends_may_be_mixed_and_stay_as_they_are_inside_quotes(
    tmp_path: Path,
) -> None:
    """G6, G7."""
    table = opened(tmp_path, 'id,text\r\n1,"a\r\nb\rc\nd"\r2,e\n')
    assert rows_of(table) == [
        {"id": "1", "text": "a\r\nb\rc\nd"},
        {"id": "2", "text": "e"},
    ]


def test_quoted_cells_hold_quotes_delimiters_and_spaces(tmp_path: Path) -> None:
    """G7."""
    table = opened(tmp_path, 'id,text\n1,"a ""big"", dog"\n2, "x\n')
    assert [row["text"] for row in rows_of(table)] == ['a "big", dog', ' "x']


def test_blank_lines_are_not_rows_but_rows_of_empty_cells_are(tmp_path: Path) -> None:
    """G6."""
    batch = only_batch(opened(tmp_path, "\n\na,b\n\n1,2\n\n\n,\n\r\n3,4\n\n"))
    assert batch.rows.to_pylist() == [
        {"a": "1", "b": "2"},
        {"a": "", "b": ""},
        {"a": "3", "b": "4"},
    ]
    assert batch.problems == {}


def test_a_single_column_may_hold_empty_cells(tmp_path: Path) -> None:
    assert [row["a"] for row in rows_of(opened(tmp_path, 'a\nx\n""\n y\n'))] == [
        "x",
        "",
        " y",
    ]


def test_a_row_with_a_wrong_number_of_cells_is_bad_and_keeps_what_was_read(
    tmp_path: Path,
) -> None:
    """G7, G15."""
    batch = only_batch(
        opened(tmp_path, 'id,text,url\n1,"a\nb",u\n\n2,c\n3,d,u,v\n4,e,u\n')
    )
    assert {
        position: (bad.reason, bad.column) for position, bad in batch.problems.items()
    } == {
        1: ("column_count", None),
        2: ("column_count", None),
    }
    assert [bad.message for bad in batch.problems.values()] == [
        "line 5: 2 cells instead of 3",
        "line 6: 4 cells instead of 3",
    ]
    assert batch.rows.to_pylist() == [
        {"id": "1", "text": "a\nb", "url": "u"},
        {"id": "2", "text": "c", "url": None},
        {"id": "3", "text": "d", "url": "u"},
        {"id": "4", "text": "e", "url": "u"},
    ]


def test_a_quote_that_is_not_doubled_spoils_its_row_only(tmp_path: Path) -> None:
    """G7."""
    batch = only_batch(opened(tmp_path, 'id,text\n1,a\n2,"the "red" door"\n3,c\n'))
    assert list(batch.problems) == [1]
    assert batch.problems[1].reason == "bad_quotes"
    assert batch.problems[1].message.startswith("line 3:")
    assert batch.rows["id"].to_pylist() == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("content", "begins", "ends"),
    [
        ('id,text\n1,"a\n2,b\n3,c\n', 2, "the file ends inside it"),
        ('id,text\n1,"a\nb","c\n2,d\n3,e', 3, "the file ends inside it"),
        ('id,text\r1,x\r2,"a', 3, "the file ends inside it"),
        ('id,text\n1,x\n2,"a\n3,"b"\n', 3, "line 4 has text after a closing quote"),
    ],
)
def test_a_quote_that_never_closes_is_an_error_at_the_line_of_its_cell(
    tmp_path: Path, content: str, begins: int, ends: str
) -> None:
    """G7."""
    message = failure(opened(tmp_path, content))
    assert (
        f"the quoted cell that begins in line {begins} does not end: {ends}" in message
    )


def test_a_tsv_takes_quotes_for_text_where_they_quote_nothing(tmp_path: Path) -> None:
    """G7: tab-separated text as registered with IANA has no quoting, though many programs write it."""
    content = 'text\tnote\n"G I G G L E" as graffiti\tx\n"a ""b""\tc"\ty\n"no" end\n'
    batch = only_batch(opened(tmp_path, content, name="t.tsv"))
    assert batch.rows["text"].to_pylist() == [
        '"G I G G L E" as graffiti',
        'a "b"\tc',
        '"no" end',
    ]
    assert {position: bad.reason for position, bad in batch.problems.items()} == {
        2: "bad_quotes"
    }


def test_another_delimiter_can_be_given(tmp_path: Path) -> None:
    """G7."""
    assert rows_of(opened(tmp_path, "a;b\n1,5;2\n", delimiter=";")) == [
        {"a": "1,5", "b": "2"}
    ]
    with pytest.raises(TableError, match="is not a valid delimiter"):
        opened(tmp_path, "a;b\n", delimiter=";;")


@pytest.mark.parametrize(
    ("header", "mark"),
    [("id;url;prompt", "';'"), ("id\turl", "'\\t'"), ("id|url", "'|'")],
)
def test_a_header_with_another_delimiter_gives_a_hint(
    tmp_path: Path, header: str, mark: str
) -> None:
    """G7."""
    assert mark in delimiter_hint(opened(tmp_path, header + "\n").schema)


def test_a_header_with_the_right_delimiter_gives_no_hint(tmp_path: Path) -> None:
    assert delimiter_hint(opened(tmp_path, "a;b,c\n").schema) == ""
    assert delimiter_hint(opened(tmp_path, "prompt\n").schema) == ""


def test_control_characters_and_rare_characters_are_kept(tmp_path: Path) -> None:
    """G12, G13, G14: what they mean is for those who use the cell."""
    cells = [
        "a\0b",
        "\x1b[31m",
        "\u202eabc",
        "👩‍👩‍👧",
        "e\u0301",
        "\u2028",
        "\x85",
        "\x0b\x0c",
        "../x",
        "CON",
        "x. ",
    ]
    table = opened(tmp_path, "a,b\n" + "".join(f"{cell},x\n" for cell in cells))
    assert [row["a"] for row in rows_of(table)] == cells


def test_a_header_without_rows_is_an_empty_table(tmp_path: Path) -> None:
    """G8."""
    for content in ("a,b", "a,b\n", "a,b\r\n\r\n"):
        table = opened(tmp_path, content)
        assert table.schema.names == ["a", "b"]
        assert list(table.batches()) == []


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf", b"\n\n", b"\r\n"])
def test_a_file_without_a_header_is_an_error(tmp_path: Path, content: bytes) -> None:
    """G8."""
    with pytest.raises(TableError, match="it is empty"):
        opened(tmp_path, content)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("a,b,a", "more than one column is named 'a'"),
        ("a,,b", "column 2 of 3 has no name"),
        (",url", "column 1 of 2 has no name"),
        ("a,b,", "column 3 of 3 has no name"),
        ('"a"x,b', "line 1: text after a closing quote"),
    ],
)
def test_a_header_that_does_not_name_the_columns_is_an_error(
    tmp_path: Path, header: str, message: str
) -> None:
    """G15."""
    with pytest.raises(TableError) as caught:
        opened(tmp_path, header + "\n1,2,3\n")
    assert message in str(caught.value)


def test_column_names_keep_case_and_spaces(tmp_path: Path) -> None:
    """G15."""
    assert opened(tmp_path, "id,ID, id \n").schema.names == ["id", "ID", " id "]


def test_batches_number_their_rows_over_bad_ones_and_have_the_size_asked_for(
    tmp_path: Path,
) -> None:
    """G8."""
    table = opened(
        tmp_path,
        "a,b\n"
        + "".join(f"{row}\n" if row == 4 else f"{row},x\n" for row in range(1, 11)),
    )
    batches = list(table.batches(size=3))
    assert [(batch.first_row, batch.rows.num_rows) for batch in batches] == [
        (1, 3),
        (4, 3),
        (7, 3),
        (10, 1),
    ]
    assert [list(batch.problems) for batch in batches] == [[], [0], [], []]
    assert [batch.rows["a"][0].as_py() for batch in batches] == ["1", "4", "7", "10"]
    assert [batch.rows for batch in table.batches(3)] == [
        batch.rows for batch in batches
    ]


@pytest.mark.slow
def test_a_cell_of_64_megabytes_is_read_and_a_larger_one_is_an_error(
    tmp_path: Path,
) -> None:
    """G11."""
    file = tmp_path / "t.csv"
    file.write_text("a,b\n1,2\n3," + "x" * 64_000_000 + "\n4,5\n")
    table = open_table(str(file))
    batches = list(table.batches())
    assert [len(cell) for batch in batches for cell in batch.rows["b"].to_pylist()] == [
        1,
        64_000_000,
        1,
    ]
    assert len(batches) >= 2  # long rows end a batch early
    file.write_text("a,b\n1,2\n3," + "x" * 68_000_000 + "\n4,5\n")
    assert "line 3 is longer than 67,108,864 characters" in failure(table)


def test_a_cell_that_is_too_large_over_several_lines_is_an_error(
    tmp_path: Path,
) -> None:
    """G11, G7: what a quote does that is not closed in a very large file."""
    table = opened(tmp_path, 'a,b\n1,2\n3,"' + ("x" * 999_999 + "\n") * 68)
    message = failure(table)
    assert (
        "begins in line 3 does not end: it is longer than 67,108,864 characters"
        in message
    )


cells = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(
    rows=st.lists(st.tuples(cells, cells, cells), max_size=6),
    end=st.sampled_from(["\r\n", "\n", "\r"]),
    delimiter=st.sampled_from([",", "\t", ";"]),
    size=st.integers(1, 4),
)
def test_whatever_csv_writes_is_read_back_equal(
    rows: list[tuple[str, str, str]], end: str, delimiter: str, size: int
) -> None:
    """G7, G10, G12."""
    # Before Python 3.13 the writer leaves a CR unquoted unless it is its own line end.
    quoting = csv.QUOTE_MINIMAL if end == "\r\n" else csv.QUOTE_ALL
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "t.csv")
        with file.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(
                stream, lineterminator=end, delimiter=delimiter, quoting=quoting
            )
            writer.writerows([("a", "b", "c"), *rows])
        batches = list(open_table(str(file), delimiter=delimiter).batches(size))
    assert [
        tuple(row.values()) for batch in batches for row in batch.rows.to_pylist()
    ] == rows
    assert not any(batch.problems for batch in batches)


@settings(max_examples=300, deadline=None)
@given(content=st.text('ab,"\r\n\t;\0', max_size=40))
def test_any_text_is_rows_or_one_clear_error(content: str) -> None:
    """G7, G12."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "t.csv")
        file.write_bytes(content.encode())
        try:
            batches = list(open_table(str(file)).batches(3))
        except TableError as error:
            assert str(file) in str(error)
        else:
            assert all(
                set(batch.problems) <= set(range(batch.rows.num_rows))
                for batch in batches
            )


def test_the_parti_prompts_are_read_whole() -> None:
    if not PROMPTS.exists():
        pytest.skip(f"{PROMPTS} is not there")
    table = open_table(str(PROMPTS))
    batches = list(table.batches(500))
    assert table.schema.names == ["Prompt", "Category", "Challenge", "Note"]
    assert sum(batch.rows.num_rows for batch in batches) == 1632
    assert not any(batch.problems for batch in batches)
    assert batches[3].rows["Prompt"][60].as_py().startswith('"G I G G L E" painted in')


MEASURE = """
import resource, sys
from pixmill.tables import open_table
start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
rows = sum(batch.rows.num_rows for batch in open_table(sys.argv[1]).batches())
print(rows, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_table(tmp_path: Path) -> None:
    """G8."""
    file = tmp_path / "t.csv"
    with file.open("w") as stream:
        stream.write("id,url,text\n")
        stream.writelines(
            f"{row},https://img.example.com/{row}.jpg,prompt {row}\n"
            for row in range(1_000_000)
        )
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, file],
        capture_output=True,
        text=True,
        check=True,
    )
    rows, grown = map(int, done.stdout.split())
    assert rows == 1_000_000
    assert (
        grown < 100 * 1024
    )  # KiB, of which the rows alone would be more than twice as much


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    "odd",
    [
        "",
        '9,"over\nlines"',
        '9,"over\r\nlines"',
        "9,x,too many",
        '9,"b"ad',
        "",
        '9,"a ""quoted"" one"',
    ],
)
def test_rows_read_many_at_a_time_are_those_read_singly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, odd: str
) -> None:
    """Blocks that end anywhere: in a cell, in a line break, in the middle of what is unusual."""
    rows = [f'{at},"text {at}, and more"' for at in range(40)]
    rows[25:25] = [odd]
    file = tmp_path / "t.csv"
    file.write_bytes(ending.join(["id,text", *rows, "last,row"]).encode())
    monkeypatch.setattr("pixmill.tables.text_stream.Lines.take_block", lambda _: [])
    singly = [
        (batch.rows.to_pylist(), batch.problems)
        for batch in open_table(str(file)).batches()
    ]
    monkeypatch.undo()
    for block in (7, 60, 311, 1 << 20):
        monkeypatch.setattr("pixmill.tables.text_stream._BLOCK", block)
        found = list(open_table(str(file)).batches())
        assert [row for batch in found for row in batch.rows.to_pylist()] == [
            row for part, _ in singly for row in part
        ]
        problems = {
            batch.first_row + at: bad
            for batch in found
            for at, bad in batch.problems.items()
        }
        assert problems == {at + 1: bad for _, of in singly for at, bad in of.items()}
        assert [batch.first_row for batch in found] == [
            1 + sum(b.rows.num_rows for b in found[:at]) for at in range(len(found))
        ]
