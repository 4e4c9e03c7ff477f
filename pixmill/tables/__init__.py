"""The input table: which files it is, its columns, and its rows as a stream of Arrow batches.

    table = open_table("data/pets.csv")
    for batch in table.batches():
        ...                         # batch.rows: pyarrow.Table, batch.problems: {position: LineProblem}

CSV, TSV, JSON lines (each also gzipped) and Parquet; one file, a glob or a folder. What is wrong with the
table as a whole is one `TableError`; what is wrong with one row is a `LineProblem` beside the rows, so that every
row is accounted for.
"""

from pixmill.arrow_text import as_json, as_text, json_rows
from pixmill.tables.batch import LineProblem, RowBatch
from pixmill.tables.columns import delimiter_hint
from pixmill.tables.input_table import InputTable, open_table

__all__ = [
    "InputTable",
    "LineProblem",
    "RowBatch",
    "as_json",
    "as_text",
    "delimiter_hint",
    "json_rows",
    "open_table",
]
