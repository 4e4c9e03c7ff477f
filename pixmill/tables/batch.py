"""Batches of rows: what every format gives out, and how big a batch may get."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

import pyarrow as pa

T = TypeVar("T")

# Rows of ordinary width fill a batch by number, wide ones (texts, image bytes) by these: memory stays flat.
BATCH_CHARACTERS = 32 << 20
BATCH_BYTES = 64 << 20


class LineReason(NamedTuple):
    """Why a line can't be read as a row: what that means, and what the table's owner can do, in Markdown."""

    meaning: str
    remedy: str


LINE_REASONS: Mapping[str, LineReason] = {
    "column_count": LineReason(
        "the line has more or fewer cells than the header",
        "quote cells that contain the separator, or add what is missing",
    ),
    "bad_quotes": LineReason(
        "text follows a closing quote, or a quote inside a quoted cell is not doubled",
        "double the quote inside a quoted cell",
    ),
    "bad_json": LineReason(
        "the line is not a JSON object, contains NaN or infinity, or is nested too deeply",
        "write one JSON object a line, with `null` for what is missing",
    ),
    "lone_surrogate": LineReason(
        "a text contains half of a surrogate pair, which is not a character",
        "write the whole character; it was probably cut in two by a program that counts UTF-16 "
        "units",
    ),
    "number_too_large": LineReason(
        "a number beyond 64 bits, or one that its column, which has fractions as well, can't "
        "represent exactly",
        "write it as text",
    ),
}
"""Every reason of a `LineProblem`. `docs/invalid-rows.md` is made from it."""


class LineProblem(NamedTuple):
    """What keeps a line from being read as a row: the reason as one word, the column if it is about one,
    a message.

    `others` are problems of further columns of that row; a row of which no such column is read can be used.
    """

    reason: str
    column: str | None
    message: str
    others: tuple["LineProblem", ...] = ()


class RowBatch(NamedTuple):
    """Consecutive rows of one file.

    `first_row` is the 1-based number of the first of them, counted over all files of the input: rows with problems
    count, the header and blank lines don't. `rows` has the input's own columns, types and order, and no
    metadata. `problems` maps a position in the batch to what is wrong there; the cells of such a row hold what could be
    read, else null.
    """

    first_row: int
    rows: pa.Table
    problems: dict[int, LineProblem]
    file: Path

    def at_positions(self, by_row_number: Mapping[int, T]) -> dict[int, T]:
        """Return what is known of rows of the batch by their numbers, by their positions in it."""
        # Mostly nothing is, and a table may have millions of rows.
        if not by_row_number:
            return {}
        first = self.first_row
        numbers = range(first, first + self.rows.num_rows)
        return {at - first: by_row_number[at] for at in numbers if at in by_row_number}


class UnnumberedBatch(NamedTuple):
    """The rows of a batch and their problems, before they have a number."""

    rows: pa.Table
    problems: dict[int, LineProblem]


class Format(Protocol):
    """How the files of one kind are read."""

    def schema(self, files: Sequence[Path]) -> pa.Schema:
        """The columns that all `files` share; TableError where they don't, or where one can't be read."""

    def parts(
        self, file: Path, schema: pa.Schema, size: int
    ) -> Iterator[UnnumberedBatch]:
        """The rows of `file` in order, as tables of `schema` with at most `size` rows each."""
