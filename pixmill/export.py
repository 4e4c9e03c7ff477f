"""Exporting the published dataset to other tabular formats, batch by batch."""

import csv
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from pixmill.config import Config
from pixmill.dataset import DATASET
from pixmill.errors import UserError
from pixmill.table import as_text

Format = Literal["parquet", "csv", "jsonl"]

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
    try:
        with _aside(out) as path, pq.ParquetFile(source, page_checksum_verification=True) as dataset:
            if kind == "parquet":
                shutil.copyfile(source, path)
            else:
                with path.open("w", encoding="utf-8", newline="") as file:
                    _write_text(dataset, kind, file)
            return int(dataset.metadata.num_rows)
    except OSError as error:
        raise UserError(f"{out} can't be written: {error.strerror or error}") from None


def _write_text(dataset: pq.ParquetFile, kind: Format, file: TextIO) -> None:
    names = dataset.schema_arrow.names
    rows = csv.writer(file)
    if kind == "csv":
        rows.writerow(names)
    for batch in dataset.iter_batches(batch_size=10_000):
        if kind == "csv":
            rows.writerows(zip(*(_cells(column) for column in batch.columns), strict=True))
        else:
            file.writelines(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in batch.to_pylist())


def _cells(column: pa.Array) -> list[str]:
    texts = ["" if text is None else text for text in as_text(column).to_pylist()]
    is_text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    return [_harmless(text) for text in texts] if is_text else texts


def _harmless(text: str) -> str:
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text


@contextmanager
def _aside(out: Path) -> Iterator[Path]:
    """Yield a path beside `out` that takes its place when all is written."""
    out.parent.mkdir(parents=True, exist_ok=True)
    path = out.with_name(f".{out.name}.tmp")
    try:
        yield path
        path.replace(out)
    finally:
        path.unlink(missing_ok=True)
