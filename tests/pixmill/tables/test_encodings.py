"""The bytes of text tables: encodings, byte order marks, and where exactly what can't be decoded stands."""

from pathlib import Path

import pytest

from pixmill.errors import TableError
from pixmill.tables import InputTable, open_table
from tests.pixmill.tables.reading import failure, rows_of


def opened(
    folder: Path, content: str | bytes, name: str = "t.csv", **options: str
) -> InputTable:
    file = folder / name
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return open_table(str(file), **options)


@pytest.mark.parametrize(
    ("encoding", "option"),
    [
        ("utf-8", "utf-8"),
        ("utf-8-sig", "utf-8"),
        ("utf-8-sig", "UTF8"),
        ("utf-16", "utf-16"),
        ("utf-16-le", "utf-16-le"),
        ("utf-32", "utf-32"),
        ("gbk", "gbk"),
    ],
)
def test_encodings_are_read_and_byte_order_marks_dropped(
    tmp_path: Path, encoding: str, option: str
) -> None:
    """G5."""
    table = opened(tmp_path, "id,文字\n1,一只猫\n".encode(encoding), encoding=option)
    assert rows_of(table) == [{"id": "1", "文字": "一只猫"}]


def test_a_byte_order_mark_before_a_quoted_header_is_dropped(tmp_path: Path) -> None:
    """G5."""
    assert rows_of(opened(tmp_path, '\ufeff"id","b"\n1,2\n')) == [{"id": "1", "b": "2"}]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_invalid_bytes_are_an_error_with_line_and_offset(
    tmp_path: Path, end: str
) -> None:
    """G5."""
    before = end.join(
        ["id,text", *(f"{number},é" for number in range(9_000)), "x,caf"]
    ).encode()
    message = failure(opened(tmp_path, before + b"\xe9" + end.encode() + b"z,z"))
    assert f"byte {len(before):,} (line 9,002) is not utf-8" in message


def test_bytes_that_are_cut_off_at_the_end_are_an_error(tmp_path: Path) -> None:
    """G5."""
    assert "byte 6 (line 2) is not utf-8" in failure(
        opened(tmp_path, b"a,b\n1,\xe4\xb8")
    )


def test_invalid_bytes_in_the_header_are_an_error_at_once(tmp_path: Path) -> None:
    """G5."""
    with pytest.raises(TableError, match=r"byte 1 \(line 1\)") as caught:
        opened(tmp_path, b"a\xff,b\n")
    assert "input.encoding" in caught.value.hint


@pytest.mark.parametrize(
    ("encoding", "option"),
    [("utf-16", "utf-8"), ("utf-32", "utf-8"), ("utf-8-sig", "gbk")],
)
def test_a_byte_order_mark_of_another_encoding_names_it(
    tmp_path: Path, encoding: str, option: str
) -> None:
    """G5: nothing is guessed in silence."""
    with pytest.raises(TableError, match="byte order mark") as caught:
        opened(tmp_path, "a,b\n1,2\n".encode(encoding), encoding=option)
    assert caught.value.hint == f"input.encoding: {encoding.removesuffix('-sig')}"


def test_utf_16_without_a_mark_is_an_error(tmp_path: Path) -> None:
    """G5."""
    with pytest.raises(TableError, match="NUL"):
        opened(tmp_path, "a,b\n1,2\n".encode("utf-16-le"))


@pytest.mark.parametrize("encoding", ["no-such", "base64", "rot13", "undefined"])
def test_an_encoding_that_is_none_is_an_error(tmp_path: Path, encoding: str) -> None:
    """G5."""
    with pytest.raises(TableError, match="is not a text encoding"):
        opened(tmp_path, "a\n", encoding=encoding)


@pytest.mark.parametrize("encoding", ["utf-7", "unicode_escape"])
def test_an_encoding_that_can_spell_half_a_character_is_no_crash(
    tmp_path: Path, encoding: str
) -> None:
    """G12."""
    content = {"utf-7": b"a,b\n+2AA-,x\n", "unicode_escape": b"a,b\n\\ud800,x\n"}[
        encoding
    ]
    assert f"can't be read as {encoding}" in failure(
        opened(tmp_path, content, encoding=encoding)
    )
