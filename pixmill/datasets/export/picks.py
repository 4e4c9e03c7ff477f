"""The rows that somebody picked: those of a table of picks, as the report writes it."""

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pixmill.datasets.schema import own_columns
from pixmill.errors import UserError
from pixmill.tables import as_text, open_table
from pixmill.tables.spreadsheets import dialect_of

_OF_A_PICK = ("row_key", "point_id")

_SHOWN = 3
"""Picks that an error names."""

# No key and no id has it.
_SEPARATOR = "\x1f"


def read_picks(path: str, dataset: pq.ParquetFile) -> pa.Array:
    """Return the picks of a table, as `pick_keys` makes them of rows.

    Raises UserError where the table lacks a column or picks a row that the dataset doesn't have, TableError
    where it can't be read.
    """
    # Stars are often edited in a spreadsheet, which saves in a dialect of its own.
    dialect = dialect_of(path)
    table = open_table(path, encoding=dialect.encoding, delimiter=dialect.delimiter)
    missing = [name for name in _OF_A_PICK if name not in table.schema.names]
    if missing:
        raise UserError(
            f"--picks {path} has no column {' and no column '.join(missing)}",
            hint="download picks.csv from the report",
        )
    rows = (batch.rows.select(_OF_A_PICK) for batch in table.batches())
    parts = [pick_keys(*of_batch.columns) for of_batch in rows]
    # A table of picks without any picks nothing.
    picks = pa.chunked_array(parts, pa.string()).combine_chunks().unique()
    own = own_columns(dataset.schema_arrow)
    names = [own[name] for name in _OF_A_PICK]
    unknown = picks
    for batch in dataset.iter_batches(columns=names):
        there = pick_keys(*(batch.column(name) for name in names))
        unknown = unknown.filter(pc.invert(pc.is_in(unknown, value_set=there)))
    if len(unknown):
        named = [
            " at point ".join(pick.split(_SEPARATOR))
            for pick in unknown[:_SHOWN].to_pylist()
        ]
        raise UserError(
            f"--picks {path}: {len(unknown):,} of {len(picks):,} picks are not in the dataset: "
            + ", ".join(named),
            hint="they may be of another config, or of a sweep that was changed since",
        )
    return picks


def pick_keys(row_keys: pa.Array, point_ids: pa.Array) -> pa.Array:
    """Return one text for the row and point of each row."""
    texts = [pc.fill_null(as_text(column), "") for column in (row_keys, point_ids)]
    keys = pc.binary_join_element_wise(*texts, _SEPARATOR)
    return keys.combine_chunks() if isinstance(keys, pa.ChunkedArray) else keys
