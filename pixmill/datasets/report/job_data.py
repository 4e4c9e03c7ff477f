"""Jobs as the page holds them: JSON, column by column, each value that repeats written once per chunk."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pixmill.datasets.own_columns import OWN_COLUMNS
from pixmill.datasets.report.columns import DatasetColumns, ReportAxis
from pixmill.datasets.report.image_links import Pictures
from pixmill.tables import as_text

CHUNK_ROWS = 2_000
_MOST = 2**53
"""Whole numbers beyond it are text: a browser has only doubles."""

LONGEST = 1_000
"""Characters shown of a value that the request doesn't read."""

_SHOWN = [column for column in OWN_COLUMNS if column.in_report]
TEXTS = [column.name for column in _SHOWN if pa.types.is_string(column.type)]
TIMES = [column.name for column in _SHOWN if pa.types.is_timestamp(column.type)]
NUMBERS = [column.name for column in _SHOWN if column.name not in (*TEXTS, *TIMES)]


class Chunks:
    """Reads a dataset chunk by chunk, finds the pictures of its jobs, and encodes it."""

    def __init__(
        self, meaning: DatasetColumns, axes: Sequence[ReportAxis], pictures: Pictures
    ) -> None:
        self._meaning = meaning
        self._axes = axes
        self._pictures = pictures

    def read(self, dataset: pq.ParquetFile, limit: int) -> Iterator[str]:
        """Yield the first `limit` jobs as JSON, `CHUNK_ROWS` at a time."""
        left = limit
        for batch in dataset.iter_batches(batch_size=CHUNK_ROWS):
            if left <= 0:
                return
            yield json.dumps(
                self._chunk(batch.slice(0, left)),
                ensure_ascii=False,
                separators=(",", ":"),
                allow_nan=False,
            )
            left -= batch.num_rows

    def _chunk(self, batch: pa.RecordBatch) -> dict[str, Any]:
        ours = {name: batch[column] for name, column in self._meaning.ours.items()}
        columns = {name: as_text(ours[name]) for name in TEXTS if name in ours}
        columns |= {name: _exact(ours[name]) for name in NUMBERS if name in ours}
        columns |= {name: _milliseconds(ours[name]) for name in TIMES if name in ours}
        return {
            "rows": batch.num_rows,
            "ours": {
                name: _encoded(column)
                for name, column in {**columns, **self._pictures.outputs(ours)}.items()
            },
            "axes": [
                _encoded(_positions(batch[axis.column], axis)) for axis in self._axes
            ],
            "own": [_encoded(self._own(batch, name)) for name in self._meaning.own],
            "inputs": [
                {name: _encoded(column) for name, column in of.items()}
                for of in self._pictures.inputs(batch, ours)
            ],
        }

    def _own(self, batch: pa.RecordBatch, name: str) -> pa.Array:
        texts = as_text(batch[name])
        if name in self._meaning.read:
            return texts
        long = pc.greater(pc.fill_null(pc.utf8_length(texts), 0), LONGEST)
        return pc.if_else(
            long,
            pc.binary_join_element_wise(
                pc.utf8_slice_codeunits(texts, 0, LONGEST), "…", ""
            ),
            texts,
        )


def _positions(column: pa.Array, axis: ReportAxis) -> pa.Array:
    """Where each value stands on its axis; null in rows that have no point."""
    return pc.index_in(
        as_text(column), pa.array([value.text for value in axis.values], pa.string())
    )


def _exact(column: pa.Array) -> pa.Array:
    """Numbers that a browser reads as they are; milliseconds and money need no more than six digits after the point."""
    if not pa.types.is_floating(column.type):
        small = pc.and_(pc.less_equal(column, _MOST), pc.greater_equal(column, -_MOST))
        return column if pc.all(small).as_py() is not False else as_text(column)
    return pc.round(pc.if_else(pc.is_finite(column), column, None), 6)


def _milliseconds(column: pa.Array) -> pa.Array:
    return pc.divide(column.cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()), 1000)


def _encoded(column: pa.Array) -> Any:
    """Plain values, or distinct ones with the position of each (-1: none) where at least half of them repeat."""
    if pa.types.is_nested(column.type) or pa.types.is_null(column.type):
        return column.to_pylist()
    coded = column.dictionary_encode()
    if 2 * len(coded.dictionary) > len(column):
        return column.to_pylist()
    return {
        "values": coded.dictionary.to_pylist(),
        "at": pc.fill_null(coded.indices, -1).to_pylist(),
    }
