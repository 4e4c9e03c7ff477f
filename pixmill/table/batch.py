"""Batches of rows: what every format gives out, and how big a batch may get."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import pyarrow as pa

# Rows of ordinary width fill a batch by number, wide ones (texts, image bytes) by these: memory stays flat.
BATCH_CHARACTERS = 32 << 20
BATCH_BYTES = 64 << 20


class BadRow(NamedTuple):
    """A structural problem of one row: the reason as one word, the column if it is about one, a message.

    `others` are problems of further columns of that row; a row of which no such column is read can be used.
    """

    reason: str
    column: str | None
    message: str
    others: tuple["BadRow", ...] = ()


class RowBatch(NamedTuple):
    """Consecutive rows of one file.

    `first_row` is the 1-based number of the first of them, counted over all files of the input: bad rows
    count, the header and blank lines don't. `rows` has the input's own columns, types and order, and no
    metadata. `bad` maps a position in the batch to its problem; the cells of such a row hold what could be
    read, else null.
    """

    first_row: int
    rows: pa.Table
    bad: dict[int, BadRow]
    file: Path


class Part(NamedTuple):
    """The rows and bad rows of a batch, before they have a number."""

    rows: pa.Table
    bad: dict[int, BadRow]


class Format(Protocol):
    """How the files of one kind are read."""

    def schema(self, files: Sequence[Path]) -> pa.Schema:
        """The columns that all `files` share; TableError where they don't, or where one can't be read."""

    def parts(self, file: Path, schema: pa.Schema, size: int) -> Iterator[Part]:
        """The rows of `file` in order, as tables of `schema` with at most `size` rows each."""
