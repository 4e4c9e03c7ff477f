"""Opening an input: from a path to a table whose columns are known and whose rows can be read, also again."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from pixmill.errors import TableError
from pixmill.tables.batch import Format, RowBatch
from pixmill.tables.columns import change_error
from pixmill.tables.delimited_text import Delimited
from pixmill.tables.discovery import Stamp, common_kind, name_files, stamp
from pixmill.tables.json_lines import JsonLines
from pixmill.tables.parquet import Parquet
from pixmill.tables.s3_inputs import name_objects
from pixmill.tables.text_stream import file_errors

_LINES_OF_ROWS = 20_000
"""Rows whose line is looked for: the file is read again up to there, for each of a few that are shown."""

_DELIMITERS = {"csv": ",", "tsv": "\t"}


@dataclass(frozen=True)
class InputTable:
    """The files of one input, read as one table in their order, and the columns that they share."""

    files: tuple[Path, ...]
    schema: pa.Schema
    _format: Format
    _stamps: tuple[Stamp, ...]
    _names: Mapping[Path, str]

    skipped: tuple[str, ...] = ()
    """The names of files in the same folder that are not read, as they don't end as tables do."""

    @property
    def folder(self) -> Path:
        """The folder of the first file. Paths in rows are relative to the folder of the row's own file."""
        return self.files[0].parent

    def batches(self, size: int = 20_000) -> Iterator[RowBatch]:
        """All rows in order, at most `size` at once, fewer where they are long; each call starts over.

        TableError where the table as a whole turns out to be bad; the rows before that have been given out.
        """
        first_row = 1
        # So that errors name the object in its bucket, and not the copy that is read.
        with name_objects(self._names):
            for file in self.files:
                for rows, problems in self._format.parts(file, self.schema, size):
                    yield RowBatch(first_row, rows, problems, file)
                    first_row += rows.num_rows

    def find_line(self, row_number: int) -> int | None:
        """Return the line of a row in its file, from 1; `None` where that is not known.

        It is of the first rows of one file of CSV or TSV. TableError where it can't be read any more.
        """
        is_near = row_number <= _LINES_OF_ROWS
        if (
            len(self.files) != 1
            or not is_near
            or not isinstance(self._format, Delimited)
        ):
            return None
        with name_objects(self._names):
            return self._format.find_line(self.files[0], row_number)

    def sha256(self) -> str:
        """Of the bytes of all files in order, as they are stored (compressed ones compressed)."""
        digest = hashlib.sha256()
        for file in self.files:
            with (
                name_objects(self._names),
                file_errors(file),
                file.open("rb") as stream,
            ):
                # It asks for a new digest; given the same one each time, all files are one text.
                hashlib.file_digest(stream, lambda: digest)
        return digest.hexdigest()

    def check_unchanged(self) -> None:
        """TableError if a file was edited, replaced or removed since the table was opened."""
        for file, before in zip(self.files, self._stamps, strict=True):
            if stamp(file) != before:
                with name_objects(self._names):
                    raise change_error(file)


def open_table(
    path: str, *, encoding: str = "utf-8", delimiter: str | None = None
) -> InputTable:
    """The table at `path`: a file, a folder or a glob. TableError if there is none, or if it is a bad one.

    `encoding` is that of text files; `delimiter` separates the cells of CSV and TSV where it is not the usual
    one. JSON lines are read in full, to find the types of the columns; of others only what says the columns.
    """
    names, skipped = name_files(path)
    files = tuple(names)
    with name_objects(names):
        stamps = tuple(stamp(file) for file in files)
        table_format = _format(common_kind(files), encoding, delimiter)
        return InputTable(
            files,
            table_format.schema(files),
            table_format,
            stamps,
            names,
            skipped,
        )


def _format(kind: str, encoding: str, delimiter: str | None) -> Format:
    if kind == "parquet":
        return Parquet()
    if kind == "jsonl":
        return JsonLines(encoding)
    mark = _DELIMITERS[kind] if delimiter is None else delimiter
    # A quote or the end of a line would mean two things at once.
    if len(mark) != 1 or mark in '"\r\n':
        raise TableError(
            f"{mark!r} is not a valid delimiter",
            hint="a delimiter is one character, such as a ;",
        )
    return Delimited(encoding, mark)
