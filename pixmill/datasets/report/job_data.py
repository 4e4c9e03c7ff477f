"""Jobs as the page holds them: JSON, column by column, each value that repeats written once per chunk."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pixmill.datasets.our_columns import OUR_COLUMNS
from pixmill.datasets.report.columns import DatasetColumns, ReportAxis
from pixmill.datasets.report.image_links import Pictures, stored_file
from pixmill.datasets.report.rejected import NONE_REJECTED, RejectedCandidates
from pixmill.tables import as_text

CHUNK_ROWS = 2_000
"""Jobs in one text of the page: a browser parses them between two frames."""

# Whole numbers beyond it are text: a browser has only doubles.
_MOST = 2**53

LONGEST = 1_000
"""Characters shown of a value that the request doesn't read."""

_SHOWN = [column for column in OUR_COLUMNS if column.in_report]
TEXTS = [column.name for column in _SHOWN if pa.types.is_string(column.type)]
TIMES = [column.name for column in _SHOWN if pa.types.is_timestamp(column.type)]
NUMBERS = [column.name for column in _SHOWN if column.name not in (*TEXTS, *TIMES)]


class Chunks:
    """Reads a dataset chunk by chunk, finds the pictures of its jobs, and encodes it."""

    def __init__(
        self,
        columns: DatasetColumns,
        axes: Sequence[ReportAxis],
        pictures: Pictures,
        rejected: RejectedCandidates = NONE_REJECTED,
    ) -> None:
        self._columns = columns
        self._axes = axes
        self._pictures = pictures
        self._rejected = rejected

    def read(
        self,
        dataset: pq.ParquetFile,
        limit: int,
        start: int = 0,
    ) -> Iterator[str]:
        """Yield `limit` jobs from `start` on as JSON, at most `CHUNK_ROWS` at a time."""
        left = limit
        skipped = start
        # Whole row groups: reading them batch by batch holds a page of every column at once,
        # which takes 20 MB more.
        for group in range(dataset.num_row_groups):
            rows = dataset.metadata.row_group(group).num_rows
            if skipped >= rows:
                skipped -= rows
                continue
            if left <= 0:
                return
            table = dataset.read_row_group(group, use_threads=False)
            wanted = table.slice(skipped, left)
            skipped = 0
            left -= wanted.num_rows
            for batch in wanted.to_batches(max_chunksize=CHUNK_ROWS):
                yield self.encode(batch)

    def encode(self, batch: pa.RecordBatch) -> str:
        """Return the jobs of a batch as JSON."""
        return json.dumps(
            self._encode_batch(batch),
            ensure_ascii=False,
            separators=(",", ":"),
            allow_nan=False,
        )

    def _encode_batch(self, batch: pa.RecordBatch) -> dict[str, Any]:
        ours = {name: batch[column] for name, column in self._columns.ours.items()}
        shown: dict[str, pa.Array] = {}
        for name in TEXTS:
            if name in ours:
                shown[name] = as_text(ours[name])
        for name in NUMBERS:
            if name in ours:
                shown[name] = _to_browser_numbers(ours[name])
        if "candidate" in ours:
            shown |= {name: ours[name] for name in ("accepted", "candidate")}
        for name in TIMES:
            if name in ours:
                micros = ours[name].cast(pa.timestamp("us", tz="UTC")).cast(pa.int64())
                # JavaScript counts milliseconds.
                shown[name] = pc.divide(micros, 1000)
        shown |= self._pictures.outputs(ours)
        axes = []
        for axis in self._axes:
            texts = pa.array([value.text for value in axis.values], pa.string())
            # The place on the axis; null in rows that have no point.
            axes.append(_encode(pc.index_in(as_text(batch[axis.column]), texts)))
        inputs = []
        for columns in self._pictures.inputs(batch, ours):
            inputs.append({name: _encode(column) for name, column in columns.items()})
        scores = []
        for score in self._columns.scores:
            flags = batch[score.flag] if score.flag else pa.nulls(batch.num_rows)
            values = _to_browser_numbers(batch[score.column])
            scores.append({"value": _encode(values), "flag": _encode(flags)})
        return {
            "rows": batch.num_rows,
            "ours": {name: _encode(column) for name, column in shown.items()},
            "axes": axes,
            "scores": scores,
            "rejected": self._encode_rejected(ours),
            "own": [
                _encode(self._own_texts(batch, name)) for name in self._columns.own
            ],
            "inputs": inputs,
        }

    def _encode_rejected(self, ours: Mapping[str, pa.Array]) -> list[Any]:
        """Return for each job its candidates that are not kept: number, reason, file, and whether
        that has a thumbnail; None where it has none."""
        if not self._rejected.of_slots:
            return []
        numbers = ours["row_number"].to_pylist()
        points = ours["point_id"].to_pylist()
        of_jobs = [
            self._rejected.of_slots.get(slot)
            for slot in zip(numbers, points, strict=True)
        ]
        files = [stored_file(one.file) for outputs in of_jobs for one in outputs or ()]
        thumbs = self._pictures.stored_thumbs(files)
        found = zip(files, thumbs, strict=True)
        encoded: list[Any] = []
        for outputs in of_jobs:
            shown = [
                [one.number, one.reason, file, thumb is not None]
                for one, (file, thumb) in zip(outputs or (), found, strict=False)
            ]
            encoded.append(shown or None)
        return encoded

    def _own_texts(
        self,
        batch: pa.RecordBatch,
        name: str,
    ) -> pa.Array:
        """Return a column of the input, its long values cut off."""
        texts = as_text(batch[name])
        if name in self._columns.read:
            # Whole: a table of picks is made of these.
            return texts
        is_long = pc.greater(pc.fill_null(pc.utf8_length(texts), 0), LONGEST)
        beginnings = pc.utf8_slice_codeunits(texts, 0, LONGEST)
        cut = pc.binary_join_element_wise(beginnings, "…", "")
        return pc.if_else(is_long, cut, texts)


def _to_browser_numbers(column: pa.Array) -> pa.Array:
    """Return numbers that a browser reads as they are; texts where it can't."""
    if pa.types.is_floating(column.type):
        finite = pc.if_else(pc.is_finite(column), column, None)
        # Milliseconds and money need no more digits after the point.
        return pc.round(finite, 6)
    not_above = pc.less_equal(column, _MOST)
    not_below = pc.greater_equal(column, -_MOST)
    # None where all are missing.
    if pc.all(pc.and_(not_above, not_below)).as_py() is False:
        return as_text(column)
    return column


def _encode(column: pa.Array) -> Any:
    """Return plain values, or distinct ones where at least half of them repeat.

    Then `at` has the position of each, -1 for none.
    """
    if pa.types.is_nested(column.type) or pa.types.is_null(column.type):
        return column.to_pylist()
    coded = column.dictionary_encode()
    if 2 * len(coded.dictionary) > len(column):
        return column.to_pylist()
    return {
        "values": coded.dictionary.to_pylist(),
        "at": pc.fill_null(coded.indices, -1).to_pylist(),
    }
