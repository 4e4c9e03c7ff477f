"""CSV and TSV. Every cell is text as it is in the file: `007`, `1e5`, `NA` and "" are not interpreted.

What is right is what the standard library's parser makes of it in strict mode. The rows of most files are read by
pyarrow, where it is certain to agree (`plain_blocks`); then by the standard library, a block at a time; and from the
first block on that has a mistake, row by row, so that each mistake is found with its line.
"""

import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pyarrow as pa

from pixmill.errors import TableError
from pixmill.tables.batch import LineProblem, UnnumberedBatch
from pixmill.tables.columns import (
    change_error,
    check_names,
    check_same_names,
    empty_error,
)
from pixmill.tables.plain_blocks import parse_rows
from pixmill.tables.text_stream import MAX_LINE, Lines, in_batches, open_lines

# Cells, problem. Not a NamedTuple, which takes longer to make: there is one per row.
_Row = tuple[Sequence[str | None], LineProblem | None]


@dataclass(frozen=True)
class Delimited:
    """Text files whose cells are separated by one character."""

    encoding: str
    delimiter: str

    def schema(self, files: Sequence[Path]) -> pa.Schema:
        """The header of the files, every column a string."""
        schemas = []
        for file in files:
            with open_lines(file, self.encoding) as lines:
                names, problem = next(self._rows(file, lines), ([], None))
            if problem:
                raise TableError(f"{file}: its header is not usable: {problem.message}")
            if not names:
                raise empty_error(file)
            columns = pa.schema([(name, pa.string()) for name in names])
            schemas.append(check_names(columns, file))
        for file, other in zip(files[1:], schemas[1:], strict=True):
            check_same_names(files[0], schemas[0].names, file, other.names)
        return schemas[0]

    def parts(
        self, file: Path, schema: pa.Schema, size: int
    ) -> Iterator[UnnumberedBatch]:
        """The rows of one file; a row with the wrong number of cells or with broken quotes is a bad one."""
        with open_lines(file, self.encoding) as lines:
            rows = self._rows(file, lines)
            names, _ = next(rows, ([], None))
            header = [name or "" for name in names]
            if Counter(header) != Counter(schema.names):
                raise change_error(file)
            for block in self._plain_blocks(lines, header):
                ordered = block.select(schema.names)
                # A block holds about as many rows as a batch, more where they are short.
                for start in range(0, len(ordered), size):
                    yield UnnumberedBatch(ordered.slice(start, size), {})
            for batch in in_batches(rows, lines, size):
                problems = enumerate(problem for _, problem in batch)
                found = {at: problem for at, problem in problems if problem}
                read = _table([cells for cells, _ in batch], header)
                # Files of one input may have their columns in different orders.
                yield UnnumberedBatch(read.select(schema.names), found)

    def find_line(self, file: Path, row_number: int) -> int | None:
        """Return the line of a row, from 1; `None` where it is several, or blank ones are before it."""
        with open_lines(file, self.encoding) as lines:
            rows = self._rows(file, lines)
            # The header and the rows before it.
            for _ in islice(rows, row_number):
                pass
            before = lines.number
            has_row = next(rows, None) is not None
            is_next_line = lines.number == before + 1
            return lines.number if has_row and is_next_line else None

    def _plain_blocks(self, lines: Lines, names: list[str]) -> Iterator[pa.Table]:
        """Yield rows that are all as they should be, many at a time, up to the first that are not."""
        while text := lines.take_block():
            if parsed := parse_rows(text, self.delimiter, names):
                lines.put_back(parsed.rest)
                yield parsed.rows
            # Such as a quote inside of a cell that is not quoted, which is no mistake.
            elif rows := self._strict_rows(text, len(names)):
                yield _table(rows, names)
            else:
                lines.put_back(text)
                return

    def _strict_rows(self, text: str, width: int) -> list[list[str]]:
        """Return the rows of a block; none where one of them has another width or broken quotes.

        It takes a third of the time of one row after the other, which is for what is left.
        """
        block = io.StringIO(text, newline="\n")
        reader = csv.reader(block, delimiter=self.delimiter, strict=True)
        try:
            rows = [cells for cells in reader if cells]
        except csv.Error:
            return []
        return rows if {width}.issuperset(map(len, rows)) else []

    def _rows(self, file: Path, lines: Lines) -> Iterator[_Row]:
        """The header and every row after it but blank lines, each with as many cells as the header."""
        # The module has one limit for the whole process; its default of 128 KiB refuses good cells.
        csv.field_size_limit(MAX_LINE)
        reader = csv.reader(lines, delimiter=self.delimiter, strict=True)
        width = 0
        while True:
            line = lines.number + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                if lines.ended or lines.number > line:
                    raise self._unclosed_error(file, line, lines, error) from error
                # The row ends with its line: only it is bad, and the parser continues with the next.
                yield self._read_unquoted(lines, width)
                continue
            if not cells:
                continue  # a blank line
            width = width or len(cells)  # of the header
            if len(cells) == width:
                yield cells, None
            else:
                problem = f"line {line}: {len(cells)} cells instead of {width}"
                yield _fit(cells, width), LineProblem("column_count", None, problem)

    def _read_unquoted(self, lines: Lines, width: int) -> _Row:
        """The last line with its quotes as ordinary characters.

        Elsewhere than in tab-separated text that is a mistake.
        """
        cells = next(
            csv.reader([lines.last], delimiter=self.delimiter, quoting=csv.QUOTE_NONE)
        )
        # IANA's registration of text/tab-separated-values knows no quoting.
        if self.delimiter == "\t" and len(cells) == width:
            return cells, None
        message = f"line {lines.number}: text after a closing quote, or a quote that is not doubled"
        return _fit(cells, width), LineProblem("bad_quotes", None, message)

    def _unclosed_error(
        self, file: Path, first: int, lines: Lines, error: csv.Error
    ) -> TableError:
        """The error for a row that began in line `first` and whose quotes lead beyond it to nowhere."""
        read = lines.number if lines.ended else lines.number - 1
        with open_lines(file, self.encoding) as again:
            # Outside strict mode the parser gives out the open cell as the last one.
            cells = next(
                csv.reader(islice(again, first - 1, read), delimiter=self.delimiter)
            )
        # CRLF is one line break.
        breaks = (
            cell.count("\n") + cell.count("\r") - cell.count("\r\n")
            for cell in cells[:-1]
        )
        begin = first + sum(breaks)
        if lines.ended:
            why = "the file ends inside it"
        elif "field limit" in str(error):
            why = f"it is longer than {MAX_LINE:,} characters"
        else:
            why = f"line {lines.number} has text after a closing quote"
        return TableError(
            f"{file}: the quoted cell that begins in line {begin} does not end: {why}",
            hint='is its closing quote missing? A quote inside a quoted cell is written twice: ""',
        )


def _table(rows: Sequence[Sequence[str | None]], names: Sequence[str]) -> pa.Table:
    return pa.table(
        [pa.array(column, pa.string()) for column in zip(*rows, strict=True)], names
    )


def _fit(cells: list[str], width: int) -> list[str | None]:
    return [*cells, *[None] * width][:width]
