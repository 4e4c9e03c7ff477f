"""The rows that somebody picked: those of a table of picks, as the report writes it."""

from collections.abc import Sequence
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pixmill.datasets.schema import our_columns
from pixmill.errors import UserError
from pixmill.tables import InputTable, as_text, open_table
from pixmill.tables.spreadsheets import dialect_of

_OF_A_PICK = ("row_key", "point_id")

_OF_ONE_IMAGE = ("replicate", "candidate")
"""Columns that a table of picks may have: of a cell of the sweep they mean one image, not all."""

_SHOWN = 3
"""Picks that an error names."""

# No key and no id has it.
_SEPARATOR = "\x1f"


class Picks(NamedTuple):
    """The picks of a table."""

    columns: tuple[str, ...]
    """The columns of the dataset by which a pick is known."""

    keys: pa.Array
    """What `pick_keys` makes of them, each once."""


def open_picks(path: str, columns: Sequence[str], hint: str) -> InputTable:
    """Open a table of picks, which has to have `columns`. Raises UserError where it lacks one,
    TableError where it can't be read.
    """
    # Stars are often edited in a spreadsheet, which saves in a dialect of its own.
    dialect = dialect_of(path)
    table = open_table(path, encoding=dialect.encoding, delimiter=dialect.delimiter)
    missing = [name for name in columns if name not in table.schema.names]
    if missing:
        raise UserError(
            f"--picks {path} has no column {' and no column '.join(missing)}", hint=hint
        )
    return table


def read_picks(path: str, dataset: pq.ParquetFile) -> Picks:
    """Return the picks of a table, without those that it says are rejected.

    A pick means the images of a row at a point; where the table has a column `replicate` or `candidate`, only that
    image. Raises UserError where the table lacks a column, or has one of these that the dataset lacks, or picks a
    row that the dataset doesn't have, TableError where it can't be read.
    """
    table = open_picks(path, _OF_A_PICK, hint="download picks.csv from the report")
    of_one = [name for name in _OF_ONE_IMAGE if name in table.schema.names]
    strange = [name for name in of_one if name not in dataset.schema_arrow.names]
    if strange:
        raise UserError(
            f"--picks {path} has a column {strange[0]}, and the dataset has none",
            hint="remove the column, or download picks.csv from the report of this dataset",
        )
    parts = []
    for batch in table.batches():
        rows = batch.rows
        if "pick" in rows.schema.names:
            # The report writes both into one table: stars, and what a person rejected.
            is_rejected = pc.equal(as_text(rows["pick"]), "reject")
            rows = rows.filter(pc.invert(pc.fill_null(is_rejected, False)))
        parts.append(pick_keys(*(rows[name] for name in (*_OF_A_PICK, *of_one))))
    # A table of picks without any picks nothing.
    picks = pa.chunked_array(parts, pa.string()).combine_chunks().unique()
    own = our_columns(dataset.schema_arrow)
    # Of a name that the input has as well, both tables have the input's.
    names = (*(own[name] for name in _OF_A_PICK), *of_one)
    unknown = picks
    for batch in dataset.iter_batches(columns=names):
        there = pick_keys(*(batch.column(name) for name in names))
        unknown = unknown.filter(pc.invert(pc.is_in(unknown, value_set=there)))
    if len(unknown):
        named = []
        for pick in unknown[:_SHOWN].to_pylist():
            row_key, point_id, *numbers = pick.split(_SEPARATOR)
            pairs = zip(of_one, numbers, strict=True)
            which = [f", {name} {number}" for name, number in pairs]
            named.append(f"{row_key} at point {point_id}{''.join(which)}")
        raise UserError(
            f"--picks {path}: {len(unknown):,} of {len(picks):,} picks are not in the dataset: "
            + "; ".join(named),
            hint="they may be of another config, or of a sweep that was changed since",
        )
    return Picks(names, picks)


def pick_keys(*columns: pa.Array) -> pa.Array:
    """Return one text for what the columns [row] say of each row."""
    texts = [pc.fill_null(as_text(column), "") for column in columns]
    keys = pc.binary_join_element_wise(*texts, _SEPARATOR)
    return keys.combine_chunks() if isinstance(keys, pa.ChunkedArray) else keys
