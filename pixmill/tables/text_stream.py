"""Bytes and lines of one file: decompressed, decoded, bounded; a failure is a TableError that says where."""

import codecs
import gzip
import io
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from pixmill.errors import TableError
from pixmill.tables.batch import BATCH_CHARACTERS

MAX_LINE = 64 << 20
"""Characters that a line, or a cell over several lines, may have."""

_BLOCK = 1 << 20
"""Characters that are taken at once where nothing is unusual."""

# A gzip stream may expand this much for free, and beyond that this many times: more is a bomb, not a table.
FREE_BYTES = 64 << 20
MAX_RATIO = 200

_MARKS = (
    (codecs.BOM_UTF8, "utf-8", "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32", "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32", "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16", "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16", "utf-16"),
)

Record = TypeVar("Record")


@contextmanager
def file_errors(file: Path) -> Iterator[None]:
    """Turn what the system says about a file into a TableError that names it."""
    try:
        yield
    except OSError as error:
        raise TableError(
            f"{file}: it can't be read: {error.strerror or error}"
        ) from error


@contextmanager
def open_bytes(file: Path) -> Iterator[io.BufferedReader]:
    """The bytes of a file, decompressed where its name ends in .gz."""
    with file_errors(file), file.open("rb") as raw:
        if file.name.lower().endswith(".gz"):
            stream: io.BufferedReader = io.BufferedReader(_Gunzip(file, raw), 1 << 18)
            with stream:
                yield stream
        else:
            yield raw


@contextmanager
def open_lines(file: Path, encoding: str) -> Iterator["Lines"]:
    """The lines of a text file with their line ends as they are; a byte order mark is dropped."""
    with open_bytes(file) as stream:
        codec = _codec(file, encoding, stream.peek(4))
        try:
            with io.TextIOWrapper(stream, codec, newline="") as text:
                yield Lines(file, text)
        except UnicodeError as error:
            place = _first_bad_byte(file, codec)
            where = ""
            if place:
                where = f": byte {place[0]:,} (line {place[1]:,}) is not {encoding}"
            raise TableError(
                f"{file}: it can't be read as {encoding}{where}",
                hint="input.encoding names the encoding of the table: utf-8, utf-16, gbk, "
                "latin-1, …; "
                "or convert the table to UTF-8, such as by `iconv -f latin1 -t utf-8 OLD > NEW`",
            ) from error


class Lines:
    """The lines of a text, and what was taken: how much (`number`, `characters`), the `last`, `ended`."""

    def __init__(self, file: Path, text: io.TextIOWrapper) -> None:
        self._file = file
        self._text = text
        # What was taken and given back; it comes before the rest of `_text`.
        self._returned = io.StringIO(newline="")
        self.number = 0
        self.characters = 0
        self.last = ""
        self.ended = False

    def __iter__(self) -> Iterator[str]:
        while line := self._returned.readline(MAX_LINE + 1) or self._text.readline(
            MAX_LINE + 1
        ):
            self.number += 1
            self.characters += len(line)
            self.last = line
            # A file without line ends must not fill the memory.
            if len(line) > MAX_LINE:
                raise TableError(
                    f"{self._file}: line {self.number} is longer than {MAX_LINE:,} characters"
                )
            yield line
        self.ended = True

    def take_block(self) -> str:
        """Take the next whole lines, about a million characters; none where they have to be read singly.

        That is so at the end of the text, in a line that is longer, and where a line ends in CR alone.
        """
        text = self._returned.read() + self._text.read(_BLOCK)
        # A CR at the end of a block may be half of a line break: blocks end behind LF only.
        end = text.rfind("\n") + 1
        block = text[:end]
        if not end or ("\r" in block and block.count("\r") != block.count("\r\n")):
            self._return(text)
            return ""
        self._returned = io.StringIO(text[end:], newline="")
        self.number += block.count("\n")
        return block

    def put_back(self, lines: str) -> None:
        """Give back the last lines of the block that was taken last."""
        if lines:
            self.number -= lines.count("\n")
            self._return(lines + self._returned.read())

    def _return(self, text: str) -> None:
        # Up to the end of a line: the two sources of lines must not meet within one.
        self._returned = io.StringIO(
            text + self._text.readline(MAX_LINE + 1), newline=""
        )


def in_batches(
    records: Iterable[Record], lines: Lines, size: int
) -> Iterator[list[Record]]:
    """Yield the records that are read from `lines`, at most `size` at once, fewer where they are long."""
    batch: list[Record] = []
    start = lines.characters
    for record in records:
        batch.append(record)
        if len(batch) >= size or lines.characters - start >= BATCH_CHARACTERS:
            yield batch
            batch = []
            start = lines.characters
    if batch:
        yield batch


class _Gunzip(io.RawIOBase):
    """The decompressed bytes of a gzip file, as long as they are in proportion to it."""

    def __init__(self, file: Path, raw: BinaryIO) -> None:
        self._file = file
        self._raw = raw
        self._gzip = gzip.GzipFile(fileobj=raw, mode="rb")
        self._count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            count = self._gzip.readinto(buffer)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            # Of a file that is still being copied, or was cut off by a broken connection.
            message = f"{self._file}: its gzip data is cut off or damaged"
            raise TableError(message, hint="fetch the file again") from error
        self._count += count
        if self._count > max(FREE_BYTES, MAX_RATIO * self._raw.tell()):
            raise TableError(
                f"{self._file}: it expands to more than {MAX_RATIO} times its size, a "
                "possible decompression bomb",
                hint="if the table is right, decompress it first",
            )
        return count

    def close(self) -> None:
        self._gzip.close()
        super().close()


def _codec(file: Path, encoding: str, head: bytes) -> str:
    """The codec for a file that begins with `head`: the one asked for, or its sibling that drops the mark."""
    try:
        name = codecs.lookup(encoding).name
        "a".encode(encoding).decode(encoding)
    except (LookupError, UnicodeError) as error:
        hint = "input.encoding: utf-8, utf-16, gbk, latin-1, …"
        raise TableError(f"{encoding!r} is not a text encoding", hint=hint) from error
    for mark, family, codec in _MARKS:
        if head.startswith(mark):
            if name.startswith(family):
                return codec
            raise TableError(
                f"{file}: it begins with the byte order mark of {family.upper()}, but is read "
                f"as {encoding}",
                hint=f"input.encoding: {family}",
            )
    return encoding


def _first_bad_byte(file: Path, codec: str) -> tuple[int, int] | None:
    """(0-based offset in the decompressed bytes, line) of the first byte that the codec refuses."""
    decoder = io.IncrementalNewlineDecoder(
        codecs.getincrementaldecoder(codec)(), translate=True
    )
    end = 0
    lines = 1
    with open_bytes(file) as stream:
        for piece in iter(partial(stream.readline, 1 << 16), b""):
            end += len(piece)
            try:
                lines += decoder.decode(piece).count("\n")
            except UnicodeDecodeError as error:
                # The piece is at most one LF line: only the CRs of older systems can end lines inside it.
                return end - len(error.object) + error.start, lines + error.object[
                    : error.start
                ].count(b"\r")
            except (
                UnicodeError
            ):  # UTF-16 and UTF-32 want the byte order mark that they begin with
                return 0, 1
    try:
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        return end - len(error.object) + error.start, lines
    return None
