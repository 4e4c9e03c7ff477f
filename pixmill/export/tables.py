"""The dataset as one file: Parquet, CSV or JSON lines, batch by batch. With splits it has one more column, `split`."""

import csv
import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pixmill.atomic import aside
from pixmill.errors import UserError
from pixmill.export.samples import Exported
from pixmill.export.selection import Selection
from pixmill.loading import free_name
from pixmill.table import as_text

BATCH_ROWS = 10_000

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\0", "＝", "＋", "－", "＠")
"""First characters by which spreadsheets take a cell for a formula, full-width forms included (OWASP)."""

TableWriter = Callable[[pa.Schema, Iterator[pa.RecordBatch], Path], None]


def write_table(
    dataset: pq.ParquetFile, selection: Selection, out: Path, write: TableWriter
) -> Exported:
    """Write the selected rows to the file `out` with one of the writers below."""
    if not out.name or out.is_dir():
        raise UserError(f"{out} is a folder", hint="name a file")
    splits: Counter[str] = Counter()
    schema = dataset.schema_arrow
    if selection.shares:
        schema = schema.append(pa.field(free_name("split", schema), pa.string()))
    with aside(out) as path:
        write(schema, _batches(dataset, selection, schema, splits), path)
    return Exported(splits.total(), splits if selection.shares else {})


def _batches(
    dataset: pq.ParquetFile, selection: Selection, schema: pa.Schema, splits: Counter[str]
) -> Iterator[pa.RecordBatch]:
    for picked in selection.batches(dataset, BATCH_ROWS):
        splits.update(picked.splits)
        added = [pa.array(picked.splits, pa.string())] if selection.shares else []
        yield pa.RecordBatch.from_arrays([*picked.rows.columns, *added], schema=schema)


def write_parquet(schema: pa.Schema, batches: Iterator[pa.RecordBatch], path: Path) -> None:
    """Write Parquet with page checksums; few selected rows of many batches share a row group."""
    with pq.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True) as writer:
        waiting: list[pa.RecordBatch] = []
        for batch in batches:
            waiting.append(batch)
            if sum(part.num_rows for part in waiting) >= BATCH_ROWS:
                writer.write_table(pa.Table.from_batches(waiting))
                waiting = []
        if waiting:
            writer.write_table(pa.Table.from_batches(waiting))


def write_csv(schema: pa.Schema, batches: Iterator[pa.RecordBatch], path: Path) -> None:
    """Write CSV with a header, safe to open in a spreadsheet."""
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow([_harmless(name) for name in schema.names])
        for batch in batches:
            rows.writerows(zip(*(_cells(column) for column in batch.columns), strict=True))


def write_jsonl(_schema: pa.Schema, batches: Iterator[pa.RecordBatch], path: Path) -> None:
    """Write one JSON object a line."""
    with path.open("w", encoding="utf-8") as file:
        for batch in batches:
            file.writelines(
                json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in batch.to_pylist()
            )


def _cells(column: pa.Array) -> list[str]:
    texts = ["" if text is None else text for text in as_text(column).to_pylist()]
    is_text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    return [_harmless(text) for text in texts] if is_text else texts


def _harmless(text: str) -> str:
    return f"'{text}" if text.lstrip(" \ufeff").startswith(_FORMULA) else text
