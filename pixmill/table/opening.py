"""Opening an input: from a path to a table whose columns are known and whose rows can be read, also again."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from pixmill.errors import TableError
from pixmill.table.batch import Format, RowBatch
from pixmill.table.columnar import Parquet
from pixmill.table.columns import changed, listed
from pixmill.table.delimited import Delimited
from pixmill.table.lines import JsonLines
from pixmill.table.remote import called
from pixmill.table.source import Stamp, common_kind, name_files, stamp, with_content
from pixmill.table.stream import reading

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
    """What of the path is not read, in words."""
    empty_lines: dict[Path, int] = field(default_factory=dict)
    """Lines of empty cells that end a file, by file; they are no rows. Known once a file was read to its end."""

    @property
    def folder(self) -> Path:
        """The folder of the first file. Paths in rows are relative to the folder of the row's own file."""
        return self.files[0].parent

    def batches(self, size: int = 20_000) -> Iterator[RowBatch]:
        """All rows in order, at most `size` at once, fewer where they are long; each call starts over.

        TableError where the table as a whole turns out to be bad; the rows before that have been given out.
        """
        first_row = 1
        with called(self._names):
            for file in self.files:
                for part in self._format.parts(file, self.schema, size):
                    if part.empty_lines:
                        self.empty_lines[file] = part.empty_lines
                    else:
                        yield RowBatch(first_row, part.rows, part.bad, file)
                        first_row += part.rows.num_rows

    def remarks(self) -> list[str]:
        """What a person should know of what is not read, as far as it is known."""
        ends = [
            f"{self._names[file]}: {count:,} lines of empty cells at its end are no rows"
            for file, count in self.empty_lines.items()
        ]
        return [*self.skipped, *ends]

    def sha256(self) -> str:
        """Of the bytes of all files in order, as they are stored (compressed ones compressed)."""
        digest = hashlib.sha256()
        for file in self.files:
            with called(self._names), reading(file), file.open("rb") as stream:
                hashlib.file_digest(stream, lambda: digest)
        return digest.hexdigest()

    def check_unchanged(self) -> None:
        """TableError if a file was edited, replaced or removed since the table was opened."""
        for file, before in zip(self.files, self._stamps, strict=True):
            if stamp(file) != before:
                with called(self._names):
                    raise changed(file)


def open_table(
    path: str, *, encoding: str = "utf-8", delimiter: str | None = None, escape: str | None = None
) -> InputTable:
    """The table at `path`: a file, a folder or a glob. TableError if there is none, or if it is a bad one.

    `encoding` is that of text files; `delimiter` separates the cells of CSV and TSV where it is not the usual
    one, and `escape` stands before quotes inside of them where they are not doubled. JSON lines are read in full,
    to find the types of the columns; of others only what says the columns.
    """
    found = name_files(path)
    with called(found.names):
        files, empty = with_content(tuple(found.names))
        stamps = tuple(stamp(file) for file in files)
        table_format = _format(common_kind(files), encoding, delimiter, escape)
        schema = table_format.schema(files)
    skipped = [f"{found.names[file]}: it is empty, so it is not read" for file in empty]
    if found.others:
        skipped.append(f"{path}: not read, as no tables: {listed(found.others)}")
    return InputTable(files, schema, table_format, stamps, found.names, tuple(skipped))


def _format(kind: str, encoding: str, delimiter: str | None, escape: str | None) -> Format:
    if kind == "parquet":
        return Parquet()
    if kind == "jsonl":
        return JsonLines(encoding)
    mark = _DELIMITERS[kind] if delimiter is None else delimiter
    for given, what in ((mark, "separate cells"), (escape or "\\", "stand before quotes")):
        if len(given) != 1 or given in '"\r\n':
            hint = (
                "it is one character, such as a ;"
                if given is mark
                else "it is one character, such as \\"
            )
            raise TableError(f"{given!r} can't {what}", hint=hint)
    if mark == escape:
        raise TableError(f"{mark!r} can't both separate cells and stand before quotes")
    return Delimited(encoding, mark, escape, may_say=delimiter is None)
