"""Exporting the published dataset to other tabular formats, batch by batch."""

import csv
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from pixmill.atomic import aside
from pixmill.config import Config
from pixmill.dataset import DATASET
from pixmill.errors import UserError
from pixmill.table import as_text

Format = Literal["parquet", "csv", "jsonl"]

BATCH_ROWS = 10_000

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\0", "＝", "＋", "－", "＠")
"""First characters by which spreadsheets take a cell for a formula, full-width forms included (OWASP)."""


def export(config: Config, kind: Format, out: Path) -> int:
    """Write the dataset of `config` to the file `out` and return its number of rows.

    CSV cells of text that a spreadsheet would run as a formula get a leading apostrophe; nested values are JSON.
    Raises UserError where there is no dataset yet or `out` can't be written.
    """
    source = config.dataset_folder / DATASET
    if not source.exists():
        raise UserError(f"{source} does not exist", hint="`pixmill run` makes it")
    if not out.name or out.is_dir():
        raise UserError(f"{out} is a folder", hint="name a file")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with aside(out) as path, pq.ParquetFile(source, page_checksum_verification=True) as dataset:
            _WRITERS[kind](dataset, path)
            return int(dataset.metadata.num_rows)
    except pa.ArrowException as error:
        raise UserError(f"{source} is damaged: {error}", hint="`pixmill run` publishes it anew") from None
    except OSError as error:
        if "CRC" in str(error) or "checksum" in str(error):
            raise UserError(f"{source} is damaged: {error}", hint="`pixmill run` publishes it anew") from None
        raise UserError(f"{out} can't be written: {error.strerror or error}") from None


def _write_parquet(dataset: pq.ParquetFile, path: Path) -> None:
    with pq.ParquetWriter(path, dataset.schema_arrow, compression="zstd", write_page_checksum=True) as writer:
        for group in range(dataset.metadata.num_row_groups):
            writer.write_table(dataset.read_row_group(group))


def _write_csv(dataset: pq.ParquetFile, path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(dataset.schema_arrow.names)
        for batch in dataset.iter_batches(batch_size=BATCH_ROWS):
            rows.writerows(zip(*(_cells(column) for column in batch.columns), strict=True))


def _write_jsonl(dataset: pq.ParquetFile, path: Path) -> None:
    with path.open("w", encoding="utf-8") as file:
        for batch in dataset.iter_batches(batch_size=BATCH_ROWS):
            file.writelines(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in batch.to_pylist())


_WRITERS: Mapping[Format, Callable[[pq.ParquetFile, Path], None]] = {
    "parquet": _write_parquet,
    "csv": _write_csv,
    "jsonl": _write_jsonl,
}


def _cells(column: pa.Array) -> list[str]:
    texts = ["" if text is None else text for text in as_text(column).to_pylist()]
    is_text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    return [_harmless(text) for text in texts] if is_text else texts


def _harmless(text: str) -> str:
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text
