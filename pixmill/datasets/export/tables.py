"""The dataset as one file: Parquet, CSV or JSON lines, batch by batch. With splits it has one more column, `split`."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pixmill.datasets.export.samples import Exported
from pixmill.datasets.export.selection import Selection
from pixmill.datasets.loading import free_name
from pixmill.errors import UserError
from pixmill.storage.atomic_write import atomic_write
from pixmill.tables import as_text, json_rows

BATCH_ROWS = 10_000

_FORMULA = r"^[ \x{FEFF}]*[=+\-@\t\r\n\x00＝＋－＠]"
"""Texts that spreadsheets take for a formula by their first character, full-width forms included (OWASP)."""

_IN_QUOTES = r'^$|[",\r\n]'
"""Cells of CSV that stand in quotes. The empty text does, as what is missing is nothing at all."""

TableWriter = Callable[[pa.Schema, Iterator[pa.RecordBatch], Path], int]
"""Writes batches to a file, and returns how many cells a spreadsheet would have run as a formula."""


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
    with atomic_write(out) as path:
        disarmed = write(schema, _batches(dataset, selection, schema, splits), path)
    return Exported(
        splits.total(), splits if selection.shares else {}, disarmed=disarmed
    )


def _batches(
    dataset: pq.ParquetFile,
    selection: Selection,
    schema: pa.Schema,
    splits: Counter[str],
) -> Iterator[pa.RecordBatch]:
    for picked in selection.batches(dataset, BATCH_ROWS):
        splits.update(picked.splits)
        added = [pa.array(picked.splits, pa.string())] if selection.shares else []
        yield pa.RecordBatch.from_arrays([*picked.rows.columns, *added], schema=schema)


def write_parquet(
    schema: pa.Schema, batches: Iterator[pa.RecordBatch], path: Path
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


def write_csv(schema: pa.Schema, batches: Iterator[pa.RecordBatch], path: Path) -> int:
    """Write CSV with a header, safe to open in a spreadsheet: an apostrophe goes before each formula."""
    return _write_csv(schema, batches, path, disarm=True)


def write_raw_csv(
    schema: pa.Schema, batches: Iterator[pa.RecordBatch], path: Path
) -> int:
    """Write CSV with a header, every cell exactly as it is, for programs and for the next run."""
    return _write_csv(schema, batches, path, disarm=False)


def write_jsonl(
    _schema: pa.Schema, batches: Iterator[pa.RecordBatch], path: Path
) -> int:
    """Write one JSON object a line."""
    with path.open("w", encoding="utf-8") as file:
        for batch in batches:
            lines = map(
                partial(json.dumps, ensure_ascii=False, allow_nan=False),
                json_rows(batch),
            )
            file.writelines(f"{line}\n" for line in lines)
    return 0


def _write_csv(
    schema: pa.Schema, batches: Iterator[pa.RecordBatch], path: Path, *, disarm: bool
) -> int:
    header = pa.record_batch(
        [pa.array([name], pa.string()) for name in schema.names], schema.names
    )
    disarmed = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        for batch in chain([header], batches):
            cells = []
            for column in batch.columns:
                texts = as_text(column, encoded=True)
                if disarm and _is_text(column.type):
                    formula = pc.fill_null(
                        pc.match_substring_regex(texts, _FORMULA), False
                    )
                    disarmed += formula.true_count
                    texts = pc.if_else(formula, _between("'", texts, ""), texts)
                cells.append(_quoted(texts))
            lines = pc.binary_join_element_wise(
                *cells, ",", null_handling="replace", null_replacement=""
            )
            file.writelines(f"{line}\r\n" for line in lines.to_pylist())
    return disarmed


def _quoted(texts: pa.Array) -> pa.Array:
    doubled = pc.replace_substring(texts, '"', '""')
    needed = pc.match_substring_regex(texts, _IN_QUOTES)
    return pc.if_else(needed, _between('"', doubled, '"'), texts)


def _between(before: str, texts: pa.Array, after: str) -> pa.Array:
    return pc.binary_join_element_wise(before, texts, after, "")


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_string_view(kind)
    )
