"""The dataset as one file: Parquet, CSV or JSON lines, batch by batch.

With splits it has one more column, `split`.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pixmill.datasets.export.samples import Exported
from pixmill.datasets.export.selection import Selection
from pixmill.datasets.schema import free_name
from pixmill.tables import as_text, json_rows

BATCH_ROWS = 10_000

# Texts that spreadsheets take for a formula by their first character, full-width forms included
# (OWASP, "CSV Injection").
_FORMULA = r"^[ \x{FEFF}]*[=+\-@\t\r\n\x00＝＋－＠]"

# Cells of CSV that are quoted. The empty text is, as what is missing is nothing at all.
_IN_QUOTES = r'^$|[",\r\n]'

TableWriter = Callable[[pa.Schema, Iterator[pa.RecordBatch], Path], int]
"""Writes batches to a file, and returns how many cells a spreadsheet would have run as a formula."""


def write_table(
    dataset: pq.ParquetFile,
    selection: Selection,
    path: Path,
    write: TableWriter,
) -> Exported:
    """Write the selected rows to the file `path` with one of the writers below."""
    splits: Counter[str] = Counter()
    schema = dataset.schema_arrow
    if selection.shares:
        schema = schema.append(pa.field(free_name("split", schema), pa.string()))

    def read() -> Iterator[pa.RecordBatch]:
        for picked in selection.batches(dataset, BATCH_ROWS):
            splits.update(picked.splits)
            columns = picked.rows.columns
            if selection.shares:
                columns.append(pa.array(picked.splits, pa.string()))
            yield pa.RecordBatch.from_arrays(columns, schema=schema)

    disarmed = write(schema, read(), path)
    return Exported(
        rows=splits.total(),
        splits=splits if selection.shares else {},
        disarmed=disarmed,
    )


def write_parquet(
    schema: pa.Schema,
    batches: Iterator[pa.RecordBatch],
    path: Path,
) -> int:
    """Write Parquet with page checksums; few selected rows of many batches share a row group."""
    with pq.ParquetWriter(
        path, schema, compression="zstd", write_page_checksum=True
    ) as writer:
        waiting: list[pa.RecordBatch] = []
        for batch in batches:
            waiting.append(batch)
            if sum(part.num_rows for part in waiting) >= BATCH_ROWS:
                writer.write_table(pa.Table.from_batches(waiting))
                waiting = []
        if waiting:
            writer.write_table(pa.Table.from_batches(waiting))
    return 0


def write_csv(
    schema: pa.Schema,
    batches: Iterator[pa.RecordBatch],
    path: Path,
) -> int:
    """Write CSV with a header, safe to open in a spreadsheet: an apostrophe goes before each formula."""
    return _write_csv(schema, batches, path, disarm=True)


def write_raw_csv(
    schema: pa.Schema,
    batches: Iterator[pa.RecordBatch],
    path: Path,
) -> int:
    """Write CSV with a header, every cell exactly as it is, for programs and for the next run."""
    return _write_csv(schema, batches, path, disarm=False)


def write_jsonl(
    _schema: pa.Schema,
    batches: Iterator[pa.RecordBatch],
    path: Path,
) -> int:
    """Write one JSON object a line."""
    with path.open("w", encoding="utf-8") as file:
        for batch in batches:
            for row in json_rows(batch):
                line = json.dumps(row, ensure_ascii=False, allow_nan=False)
                file.write(f"{line}\n")
    return 0


def _write_csv(
    schema: pa.Schema,
    batches: Iterator[pa.RecordBatch],
    path: Path,
    *,
    disarm: bool,
) -> int:
    names = [pa.array([name], pa.string()) for name in schema.names]
    # A batch as the others: names of columns may need quotes and an apostrophe too.
    header = pa.record_batch(names, schema.names)
    disarmed = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        for batch in chain([header], batches):
            cells = []
            for column in batch.columns:
                texts = as_text(column, encoded=True)
                # Only texts: -3 is a number, and stays one.
                if disarm and _is_text(column.type):
                    matches = pc.match_substring_regex(texts, _FORMULA)
                    is_formula = pc.fill_null(matches, False)
                    disarmed += is_formula.true_count
                    texts = pc.if_else(is_formula, _between("'", texts, ""), texts)
                quoted = _between('"', pc.replace_substring(texts, '"', '""'), '"')
                needs_quotes = pc.match_substring_regex(texts, _IN_QUOTES)
                cells.append(pc.if_else(needs_quotes, quoted, texts))
            lines = pc.binary_join_element_wise(
                *cells,
                ",",
                null_handling="replace",
                null_replacement="",
            )
            file.writelines(f"{line}\r\n" for line in lines.to_pylist())
    return disarmed


def _between(
    before: str,
    texts: pa.Array,
    after: str,
) -> pa.Array:
    return pc.binary_join_element_wise(before, texts, after, "")


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_string_view(kind)
    )
