"""How a spreadsheet or a console wrote a CSV that nobody configured: its encoding, and what separates its cells."""

import codecs
from collections.abc import Sequence
from contextlib import suppress
from typing import BinaryIO, NamedTuple

from pixmill.tables.discovery import find_files
from pixmill.tables.text_stream import open_bytes

_HEAD = 1 << 16
"""Bytes at the beginning of a file that hold its header."""

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SEPARATORS = ",;\t"


class Dialect(NamedTuple):
    """How a table is to be opened; `delimiter` is `None` for the usual one of its kind."""

    encoding: str
    delimiter: str | None


def dialect_of(path: str, *otherwise: str) -> Dialect:
    """Return the dialect of the first file that `path` means; `otherwise` are encodings to try where it is not UTF-8.

    UTF-16 is known by its mark, or by the zeros between its letters. Raises TableError where there is no file.
    """
    file = find_files(path)[0]
    if not file.name.lower().removesuffix(".gz").endswith(".csv"):
        return Dialect("utf-8", None)
    with open_bytes(file) as stream:
        head = stream.read(_HEAD)
        encoding = _guess_encoding(head, stream, ("utf-8", *otherwise))
    header = head.decode(encoding, "ignore").lstrip("\r\n").partition("\n")[0]
    found = max(_SEPARATORS, key=header.count)  # of equally many the first
    return Dialect(encoding, None if found == "," else found)


def _guess_encoding(head: bytes, rest: BinaryIO, encodings: Sequence[str]) -> str:
    """Return UTF-16 where the `head` of a file shows it, else the first of `encodings` in which all of it is a text,
    or the first of all.
    """
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding
    # Without a mark: of ASCII letters in UTF-16, every other byte is zero.
    if head[1:2] == b"\0":
        return "utf-16-le"
    if head[:1] == b"\0":
        return "utf-16-be"
    content = head + rest.read()
    for encoding in encodings:
        with suppress(UnicodeDecodeError):
            content.decode(encoding)
            return encoding
    return encodings[0]
