"""Which files an input means, that their content is what their name says, and that nobody changes them unseen."""

import gzip
import hashlib
import os
from collections.abc import Generator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pixmill.errors import TableError
from pixmill.tables import InputTable, open_table


def write(folder: Path, *names: str, content: str = "a,b\n1,2\n") -> None:
    for name in names:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        data = content.encode()
        file.write_bytes(gzip.compress(data, mtime=0) if name.endswith(".gz") else data)


def names_of(table: InputTable) -> list[str]:
    return [file.name for file in table.files]


@pytest.mark.parametrize(
    "name",
    ["t.csv", "T.CSV", "t.csv.gz", "t.Csv.GZ", ".csv", "_hidden.csv", "a b [1].csv"],
)
def test_a_file_is_read_by_its_name(tmp_path: Path, name: str) -> None:
    data = b"a,b\n1,2\n"
    (tmp_path / name).write_bytes(
        gzip.compress(data, mtime=0) if name.lower().endswith(".gz") else data
    )
    table = open_table(str(tmp_path / name))
    (batch,) = table.batches()
    assert batch.rows.to_pylist() == [{"a": "1", "b": "2"}]
    assert (batch.file, table.folder) == (tmp_path / name, tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "row"),
    [
        ("t.tsv", "a\tb\n1\t2\n", {"a": "1", "b": "2"}),
        ("t.tsv.gz", "a\tb\n1\t2\n", {"a": "1", "b": "2"}),
        ("t.jsonl", '{"a": 1}\n', {"a": 1}),
        ("t.ndjson", '{"a": 1}\n', {"a": 1}),
        ("t.jsonl.gz", '{"a": 1}\n', {"a": 1}),
        ("t.ndjson.gz", '{"a": 1}\n', {"a": 1}),
    ],
)
def test_every_kind_of_text_table_is_read(
    tmp_path: Path, name: str, content: str, row: dict[str, object]
) -> None:
    """G20."""
    write(tmp_path, name, content=content)
    assert [
        batch.rows.to_pylist() for batch in open_table(str(tmp_path / name)).batches()
    ] == [[row]]


def test_a_folder_means_its_table_files_by_name(tmp_path: Path) -> None:
    write(
        tmp_path,
        "b.csv",
        "a.csv.gz",
        "B.csv",
        ".x.csv",
        "_y.csv",
        "README.md",
        "sub/c.csv",
        "d.csv/part.csv",
    )
    table = open_table(str(tmp_path))
    assert names_of(table) == ["B.csv", "a.csv.gz", "b.csv"]
    assert table.skipped == ("README.md",)
    assert [(batch.first_row, batch.file.name) for batch in table.batches()] == [
        (1, "B.csv"),
        (2, "a.csv.gz"),
        (3, "b.csv"),
    ]


def test_a_glob_means_what_it_matches_by_name(tmp_path: Path) -> None:
    write(tmp_path, "b-2.csv", "b-1.csv", "a.csv", "sub/b-3.csv")
    assert names_of(open_table(str(tmp_path / "b-*.csv"))) == ["b-1.csv", "b-2.csv"]
    assert names_of(open_table(str(tmp_path / "**" / "b-*.csv"))) == [
        "b-1.csv",
        "b-2.csv",
        "b-3.csv",
    ]


def test_a_relative_path_starts_at_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "data/t.csv")
    monkeypatch.chdir(tmp_path)
    table = open_table("data/*.csv")
    assert (table.files, table.folder) == ((Path("data/t.csv"),), Path("data"))


@pytest.mark.parametrize(
    ("path", "message", "hint"),
    [
        ("gone.csv", "there is no such file", "relative paths start at"),
        ("*.jsonl", "no file matches", ".parquet"),
        ("empty", "no table file in this folder", ".csv, .csv.gz, .tsv"),
        ("notes.txt", "does not say what kind", ".csv, .csv.gz, .tsv"),
        ("note.csv", "file; did you mean `notes.csv`", "relative paths start at"),
        ("book.xlsx", "does not say what kind", "save the spreadsheet as CSV"),
        ("notes.t*", "does not say what kind", ".csv, .csv.gz, .tsv"),
    ],
)
def test_an_input_that_is_not_there_says_what_was_looked_for(
    tmp_path: Path, path: str, message: str, hint: str
) -> None:
    write(
        tmp_path,
        "notes.txt",
        "notes.csv",
        "book.xlsx",
        "empty/.hidden.csv",
        "empty/notes.txt",
    )
    with pytest.raises(TableError, match=message) as caught:
        open_table(str(tmp_path / path))
    assert str(tmp_path / Path(path).stem) in str(caught.value)
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    "path", ["file:///t.csv", "https://example.com/t.csv", "GS://b/t.parquet"]
)
def test_only_local_paths_are_read(path: str) -> None:
    with pytest.raises(TableError, match="only local paths and s3:// are read"):
        open_table(path)


def test_files_of_two_kinds_are_an_error(tmp_path: Path) -> None:
    """G15."""
    write(tmp_path, "a.csv", "b.tsv")
    with pytest.raises(
        TableError,
        match=r"b\.tsv: the files of one input must be of one kind, and .*a\.csv is csv",
    ):
        open_table(str(tmp_path))


def test_text_files_with_other_columns_are_an_error_that_names_them(
    tmp_path: Path,
) -> None:
    """G15."""
    write(tmp_path, "a.csv", content="id,url\n1,u\n")
    write(tmp_path, "b.csv", content="url,id\nv,2\n")
    rows = [
        row
        for batch in open_table(str(tmp_path)).batches()
        for row in batch.rows.to_pylist()
    ]
    assert rows == [{"id": "1", "url": "u"}, {"id": "2", "url": "v"}]
    write(tmp_path, "c.csv", content="id,Url\n1,u\n")
    with pytest.raises(
        TableError,
        match=r"c\.csv: its columns .*a\.csv: it lacks 'url', and it also has 'Url'",
    ):
        open_table(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", b"PAR1\x15\x04\x15", "its content is Parquet"),
        ("t.csv", gzip.compress(b"a,b\n", mtime=0), "its content is gzip"),
        ("t.jsonl", gzip.compress(b"{}\n", mtime=0), "its content is gzip"),
        ("t.csv.gz", b"a,b\n1,2\n", "its content is not gzip"),
        (
            "t.csv.gz",
            gzip.compress(gzip.compress(b"a,b\n", mtime=0), mtime=0),
            "its content is gzip",
        ),
        (
            "t.tsv.gz",
            gzip.compress(b"PAR1\x15\x04\x15", mtime=0),
            "its content is Parquet",
        ),
        ("t.csv", b"PK\x03\x04\x14\x00", "its content is a zip archive"),
        ("t.csv", b"\x28\xb5\x2f\xfd\x00", "its content is Zstandard"),
        ("t.parquet", b"a,b\n1,2\n", "its content is not Parquet"),
        ("t.parquet", b"PAR1 and nothing else", "it is damaged, or not Parquet"),
        ("t.parquet", b"", "it is empty"),
        ("t.csv.gz", b"", "it is empty"),
        ("t.csv.gz", gzip.compress(b"", mtime=0), "it is empty"),
        ("t.jsonl", b"", "it is empty"),
    ],
)
def test_content_that_contradicts_the_name_is_an_error(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    """G8, G15, G20."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TableError, match=message) as caught:
        open_table(str(tmp_path / name))
    assert str(caught.value).startswith(str(tmp_path / name))


def test_a_column_may_have_the_name_of_a_format(tmp_path: Path) -> None:
    write(tmp_path, "t.csv", content="PAR1,b\n1,2\n")
    assert open_table(str(tmp_path / "t.csv")).schema.names == ["PAR1", "b"]


@pytest.mark.parametrize("cut", [-1, -6, -300, 30])
def test_gzip_that_is_cut_off_is_an_error(tmp_path: Path, cut: int) -> None:
    """G20."""
    data = gzip.compress(
        b"a,b\n" + "".join(f"{row},{row * row}\n" for row in range(5_000)).encode()
    )
    (tmp_path / "t.csv.gz").write_bytes(data[:cut])
    with pytest.raises(TableError, match="its gzip data is cut off or damaged"):
        list(open_table(str(tmp_path / "t.csv.gz")).batches())


def test_gzip_that_is_damaged_or_followed_by_something_else_is_an_error(
    tmp_path: Path,
) -> None:
    """G20."""
    data = gzip.compress(b"a,b\n" + os.urandom(9_000).hex().encode() + b",x\n")
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 255
    for content in (bytes(flipped), data + b"more"):
        (tmp_path / "t.csv.gz").write_bytes(content)
        with pytest.raises(TableError, match="its gzip data is cut off or damaged"):
            list(open_table(str(tmp_path / "t.csv.gz")).batches())


def test_several_gzip_members_are_one_file(tmp_path: Path) -> None:
    """G20."""
    (tmp_path / "t.csv.gz").write_bytes(
        gzip.compress(b"a,b\n1,2\n3,", mtime=0) + gzip.compress(b"4\n", mtime=0)
    )
    (batch,) = open_table(str(tmp_path / "t.csv.gz")).batches()
    assert batch.rows.to_pydict() == {"a": ["1", "3"], "b": ["2", "4"]}


@pytest.mark.slow
def test_a_decompression_bomb_is_refused_and_a_large_table_is_not(
    tmp_path: Path,
) -> None:
    """G20."""
    row = b"x," + b"0" * 1_000_000 + b"\n"
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"a,b\n" + row * 200, mtime=0))
    with pytest.raises(TableError, match="more than 200 times its size") as caught:
        list(open_table(str(tmp_path / "t.csv.gz")).batches())
    assert "decompress it first" in caught.value.hint
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"a,b\n" + row * 60, mtime=0))
    assert (
        sum(
            batch.rows.num_rows
            for batch in open_table(str(tmp_path / "t.csv.gz")).batches()
        )
        == 60
    )


def test_the_digest_is_that_of_the_bytes_of_all_files(tmp_path: Path) -> None:
    """G4."""
    write(tmp_path, "a.csv", "b.csv.gz")
    expected = hashlib.sha256(
        (tmp_path / "a.csv").read_bytes() + (tmp_path / "b.csv.gz").read_bytes()
    )
    assert open_table(str(tmp_path)).sha256() == expected.hexdigest()


def edit(file: Path) -> None:
    stat = file.stat()
    file.write_text("a,b\n1,3\n")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))


def edit_and_hide_it(file: Path) -> None:
    """As `rsync --inplace --times` leaves it: a time of the last edit that is put back."""
    stat = file.stat()
    with file.open("r+") as text:
        text.write("a,b\n1,3\n")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def lengthen(file: Path) -> None:
    stat = file.stat()
    file.write_text("a,b\n1,2\n3,4\n")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def replace(file: Path) -> None:
    stat = file.stat()
    other = file.with_name("other")
    other.write_text("a,b\n9,9\n")
    os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    other.replace(file)


@pytest.mark.parametrize(
    "change", [edit, edit_and_hide_it, lengthen, replace, Path.unlink]
)
def test_a_file_that_changes_after_it_was_opened_is_noticed(
    tmp_path: Path, change: object
) -> None:
    """G4."""
    write(tmp_path, "a.csv", "b.csv")
    table = open_table(str(tmp_path))
    list(table.batches())
    table.check_unchanged()
    assert callable(change)
    change(tmp_path / "b.csv")
    with pytest.raises(TableError, match=r"b\.csv: it"):
        table.check_unchanged()


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("t.csv", "a,b\n1,2\n", "a,c\n1,2\n"),
        ("t.csv", "a,b\n1,2\n", "a,b,b\n1,2,3\n"),
        ("t.csv", "a,b\n1,2\n", ""),
        ("t.csv", "a,b\n1,2\n", None),
    ],
)
def test_a_file_with_other_columns_than_when_it_was_opened_is_an_error(
    tmp_path: Path, name: str, before: str, after: str | None
) -> None:
    """G4."""
    write(tmp_path, name, content=before)
    table = open_table(str(tmp_path / name))
    if after is None:
        (tmp_path / name).unlink()
    else:
        write(tmp_path, name, content=after)
    with pytest.raises(
        TableError, match=r"it changed after it was opened|No such file"
    ):
        list(table.batches())


def test_a_parquet_file_with_other_columns_than_when_it_was_opened_is_an_error(
    tmp_path: Path,
) -> None:
    """G4."""
    file = tmp_path / "t.parquet"
    pq.write_table(pa.table({"a": [1]}), file)
    table = open_table(str(file))
    for other in ({"b": [1]}, {"a": ["x"]}):
        pq.write_table(pa.table(other), file)
        with pytest.raises(TableError, match="it changed after it was opened"):
            list(table.batches())
    file.unlink()
    with pytest.raises(TableError, match=r"t\.parquet"):
        list(table.batches())


def test_reading_may_stop_anywhere_and_begin_again(tmp_path: Path) -> None:
    """No file stays open: warnings about those are errors here."""
    write(tmp_path, "t.csv.gz", content="a,b\n" + "1,2\n" * 10)
    table = open_table(str(tmp_path / "t.csv.gz"))
    for _ in range(3):
        batches = table.batches(2)
        assert next(batches).first_row == 1
        assert isinstance(batches, Generator)
        batches.close()
    assert len(list(table.batches(2))) == 5
