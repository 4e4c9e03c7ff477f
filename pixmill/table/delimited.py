"""CSV and TSV. Every cell is text as it stands in the file: `007`, `1e5`, `NA` and "" are not interpreted.

The standard library's parser in strict mode does it: pyarrow loses the rows after a quote that is not closed,
and both pyarrow and pandas guess types (measured).

What spreadsheets and shells write around a table is none of it: `sep=;` or `#TYPE …` in the first line, and
lines of empty cells after the last row.
"""

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from pixmill.errors import TableError
from pixmill.table.batch import BadRow, Part
from pixmill.table.columns import changed, check_same_names, checked
from pixmill.table.stream import MAX_LINE, Lines, in_batches, opened_lines

# Cells, problem. Not a NamedTuple, which takes longer to make: there is one per row.
_Row = tuple[Sequence[str | None], BadRow | None]

# Rows by their cells, and by position what is wrong with them.
_Rows = tuple[list[Sequence[str | None]], dict[int, BadRow]]

# Excel's own word for the delimiter.
_SEPARATOR = re.compile(r'"?sep=([^"\w\s]|\t)"?\s*', re.IGNORECASE)

# The first line of Export-Csv in Windows PowerShell.
_TYPE = re.compile(r'"?#TYPE \S+\s*')


@dataclass(frozen=True)
class Delimited:
    """Text files whose cells are separated by one character."""

    encoding: str
    delimiter: str
    escape: str | None = None
    """What stands before a quote, or itself, that is part of a cell; `None`: quotes are doubled."""
    may_say: bool = True
    """Whether a file may name another delimiter in its first line."""

    def schema(self, files: Sequence[Path]) -> pa.Schema:
        """The header of the files, every column a string."""
        schemas = [self._header(file) for file in files]
        for file, other in zip(files[1:], schemas[1:], strict=True):
            check_same_names(files[0], schemas[0].names, file, other.names)
        return schemas[0]

    def parts(self, file: Path, schema: pa.Schema, size: int) -> Iterator[Part]:
        """The rows of one file; a row with the wrong number of cells or with broken quotes is a bad one.

        Lines of empty cells after the last row are no rows: the last part says how many there are.
        """
        with opened_lines(file, self.encoding) as lines:
            dialect = self._begun(lines)
            rows = dialect._rows(file, lines)
            names, _ = next(rows, ([], None))
            header = [name or "" for name in names]
            if Counter(header) != Counter(schema.names):
                raise changed(file)
            groups = chain(
                dialect._plain_blocks(lines, len(names)),
                map(_gathered, in_batches(rows, lines, size)),
            )
            none = schema.empty_table()
            for cells, bad, empty in _without_empty_end(groups, len(names)):
                for start in range(0, len(cells), size):
                    here = {at - start: bad[at] for at in range(start, start + size) if at in bad}
                    table = _table(cells[start : start + size], header).select(schema.names)
                    yield Part(table, here if bad else {})
                if empty:
                    yield Part(none, {}, empty)

    def _begun(self, lines: Lines) -> "Delimited":
        """Take what stands before the header, and return how the rest is read."""
        first = next(iter(lines), "")
        said = _SEPARATOR.fullmatch(first)
        if said:
            return replace(self, delimiter=said[1]) if self.may_say else self
        if first and not _TYPE.fullmatch(first):
            lines.put_back([first])
        return self

    def _parsed(self, lines: Iterable[str], strict: bool = True) -> Any:
        return csv.reader(lines, delimiter=self.delimiter, escapechar=self.escape, strict=strict)

    def _plain_blocks(self, lines: Lines, width: int) -> Iterator[_Rows]:
        """The cells of rows that are all as they should be, many at a time, up to the first that are not.

        It takes a third of the time of one row after the other, which is for the rest.
        """
        while block := lines.take_block():
            try:
                rows = [cells for cells in self._parsed(block) if cells]
            except csv.Error:
                rows = [[]]
            if any(len(cells) != width for cells in rows):
                lines.put_back(block)
                return
            yield rows, {}

    def _header(self, file: Path) -> pa.Schema:
        with opened_lines(file, self.encoding) as lines:
            names, problem = next(self._begun(lines)._rows(file, lines), ([], None))
        if problem:
            raise TableError(f"{file}: its header is not usable: {problem.message}")
        if not names:
            raise TableError(
                f"{file}: it is empty", hint="a table without rows still needs its header"
            )
        return checked(pa.schema([(name, pa.string()) for name in names]), file)

    def _rows(self, file: Path, lines: Lines) -> Iterator[_Row]:
        """The header and every row after it but blank lines, each with as many cells as the header."""
        # Of the whole process, there is no other; its default of 128 KiB refuses legitimate cells.
        csv.field_size_limit(MAX_LINE)
        reader = self._parsed(lines)
        width = 0
        while True:
            line = lines.number + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                if lines.ended or lines.number > line:
                    raise self._unclosed(file, line, lines, error) from error
                # The row ends with its line: it alone is spoilt, and the parser goes on with the next.
                yield self._unquoted(lines, width)
                continue
            if not cells:
                continue
            width = width or len(cells)
            if len(cells) == width:
                yield cells, None
            else:
                problem = f"line {line}: {len(cells)} cells instead of {width}"
                yield _fitted(cells, width), BadRow("column_count", None, problem)

    def _unquoted(self, lines: Lines, width: int) -> _Row:
        """The last line with its quotes as ordinary characters.

        In tab-separated text that is what they are (its registration with IANA knows no quoting), elsewhere a
        mistake.
        """
        cells = next(csv.reader([lines.last], delimiter=self.delimiter, quoting=csv.QUOTE_NONE))
        if self.delimiter == "\t" and len(cells) == width:
            return cells, None
        message = f"line {lines.number}: text after a closing quote, or a quote that is not doubled"
        if '\\"' in lines.last and self.escape is None:
            message += " but stands after a backslash, which input.escape can allow"
        return _fitted(cells, width), BadRow("bad_quotes", None, message)

    def _unclosed(self, file: Path, first: int, lines: Lines, error: csv.Error) -> TableError:
        """The error for a row that began in line `first` and whose quotes lead beyond it to nowhere."""
        read = lines.number if lines.ended else lines.number - 1
        with opened_lines(file, self.encoding) as again:
            # Outside strict mode the parser gives out the open cell as the last one.
            cells = next(self._parsed(islice(again, first - 1, read), strict=False))
        begin = first + sum(map(_line_breaks, cells[:-1]))
        return TableError(
            f"{file}: the quoted cell that begins in line {begin} does not end: {_why(error, lines)}",
            hint='is its closing quote missing? A quote inside a quoted cell is written twice: ""',
        )


def _gathered(batch: list[_Row]) -> _Rows:
    bad = {position: problem for position, (_, problem) in enumerate(batch) if problem}
    return [cells for cells, _ in batch], bad


def _without_empty_end(
    groups: Iterable[_Rows], width: int
) -> Iterator[tuple[list[Sequence[str | None]], dict[int, BadRow], int]]:
    """The rows of `groups` up to the last that is not empty, and in the end, without rows, how many were left.

    Empty rows are held back until it is known what comes after them. They share their cells: a sheet may end in a
    million of them.
    """
    empty: list[str | None] = [""] * width
    held: list[Sequence[str | None]] = []
    held_bad: dict[int, BadRow] = {}
    for rows, bad in groups:
        end = len(rows)
        # A single column has no other way to hold an empty text than a line of its own, in quotes.
        while end and width > 1 and not any(rows[end - 1]):
            end -= 1
        if end:
            if held:
                yield held, held_bad, 0
                held, held_bad = [], {}
            yield rows[:end], {at: problem for at, problem in bad.items() if at < end}, 0
        held_bad |= {len(held) + at - end: problem for at, problem in bad.items() if at >= end}
        held += [cells if at in bad else empty for at, cells in enumerate(rows[end:], end)]
    yield [], {}, len(held)


def _table(rows: Sequence[Sequence[str | None]], names: Sequence[str]) -> pa.Table:
    return pa.table([pa.array(column, pa.string()) for column in zip(*rows, strict=True)], names)


def _why(error: csv.Error, lines: Lines) -> str:
    if lines.ended:
        return "the file ends inside it"
    if "field limit" in str(error):
        return f"it is longer than {MAX_LINE:,} characters"
    return f"line {lines.number} has text after a closing quote"


def _fitted(cells: list[str], width: int) -> list[str | None]:
    return [*cells, *[None] * width][:width]


def _line_breaks(cell: str) -> int:
    return cell.count("\n") + cell.count("\r") - cell.count("\r\n")
