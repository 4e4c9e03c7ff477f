"""Which rows of the dataset are exported, and which split each belongs to.

The split of a row is decided by the hash of one value and by nothing else: more rows, another order or another
machine never move a row, and rows of an equal value are never on two sides.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pixmill.conditions import Condition, parse
from pixmill.datasets.loading import own_columns
from pixmill.errors import UserError
from pixmill.request.registry import did_you_mean
from pixmill.tables import as_text

TRAIN = "train"
BATCH_BYTES = 64 << 20
"""About how much of a dataset is decoded at once: rows may hold pictures."""


class Picked(NamedTuple):
    """Rows of one batch that are exported: their columns, positions in the dataset (from 0) and splits."""

    rows: pa.RecordBatch
    positions: NDArray[np.int64]
    splits: Sequence[str]


class Selection(NamedTuple):
    """A condition over columns (`None` takes every row), and splits with their shares by the text of a column."""

    where: Condition | None
    shares: Mapping[str, float]
    split_by: str

    def batches(self, dataset: pq.ParquetFile, size: int) -> Iterator[Picked]:
        """Yield the selected rows in order, from at most `size` rows of the dataset at once."""
        start = 0
        for batch in dataset.iter_batches(
            batch_size=min(size, _rows_in(BATCH_BYTES, dataset))
        ):
            kept = self._kept(batch)
            rows = batch if len(kept) == batch.num_rows else batch.take(pa.array(kept))
            yield Picked(rows, start + kept, self._splits(rows))
            start += batch.num_rows

    def _kept(self, batch: pa.RecordBatch) -> NDArray[np.int64]:
        if self.where is None:
            return np.arange(batch.num_rows)
        columns = {name: batch.column(name) for name in self.where.names}
        try:
            return np.flatnonzero(self.where.mask(columns, batch.num_rows))
        except ValueError as error:
            raise UserError(f"--where: {error}") from None

    def _splits(self, rows: pa.RecordBatch) -> list[str]:
        if not self.shares:
            return [TRAIN] * rows.num_rows
        return [
            split_of(text or "", self.shares)
            for text in as_text(rows.column(self.split_by)).to_pylist()
        ]


def select(
    schema: pa.Schema, where: str | None, splits: Sequence[str], split_by: str | None
) -> Selection:
    """Check what the user asked for against the dataset's columns. Raises UserError with what is wrong."""
    if split_by and not splits:
        raise UserError("--split-by needs --split", hint="for example --split val=0.02")
    column = split_by or own_columns(schema)["row_key"]
    _check_column(column, schema, "--split-by")
    return Selection(
        _condition(where, schema) if where is not None else None,
        parse_shares(splits),
        column,
    )


def _rows_in(space: int, dataset: pq.ParquetFile) -> int:
    """How many rows of the widest row group need `space` bytes."""
    groups = map(dataset.metadata.row_group, range(dataset.metadata.num_row_groups))
    widest = max(
        (group.total_byte_size // max(group.num_rows, 1) for group in groups), default=0
    )
    return max(1, space // max(widest, 1))


def split_of(text: str, shares: Mapping[str, float]) -> str:
    """Return the split of a value: its SHA-256 as a fraction of 1, laid along the shares in their order."""
    fraction = int.from_bytes(sha256(text.encode()).digest()[:8]) / 2**64
    reached = 0.0
    for name, share in shares.items():
        reached += share
        if fraction < reached:
            return name
    return TRAIN


def parse_shares(splits: Sequence[str]) -> dict[str, float]:
    """Read `val=0.02` and the like. Raises UserError for what is no share, stands twice, or leaves no `train`."""
    shares: dict[str, float] = {}
    for text in splits:
        name, _, number = text.partition("=")
        share = _share(number)
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) or share is None:
            raise UserError(
                f"--split {text} is not a valid split",
                hint="a name and a number between 0 and 1: --split val=0.02",
            )
        if name in shares or name == TRAIN:
            why = (
                "is the rest that the others leave"
                if name == TRAIN
                else "is given twice"
            )
            raise UserError(f"--split {text}: {name} {why}")
        shares[name] = share
    if sum(shares.values()) >= 1:
        raise UserError(
            "the shares of --split leave nothing for train",
            hint="their sum must be below 1",
        )
    return shares


def _share(number: str) -> float | None:
    try:
        share = float(number)
    except ValueError:
        return None
    return share if 0 < share < 1 else None


def _condition(text: str, schema: pa.Schema) -> Condition:
    try:
        condition = parse(text)
    except ValueError as error:
        raise UserError(f"--where: {error}") from None
    for name in sorted(condition.names):
        _check_column(name, schema, "--where")
    return condition


def _check_column(name: str, schema: pa.Schema, option: str) -> None:
    if name not in schema.names:
        suggestion = did_you_mean(name, schema.names)
        raise UserError(f"{option}: the dataset has no column {name!r}{suggestion}")
