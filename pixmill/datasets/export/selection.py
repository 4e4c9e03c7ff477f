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
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pixmill.conditions import Condition, parse
from pixmill.datasets.export.image_rows import split_images
from pixmill.datasets.export.picks import Picks, pick_keys
from pixmill.datasets.schema import our_columns
from pixmill.errors import UserError
from pixmill.request.registry import did_you_mean
from pixmill.tables import as_text

TRAIN = "train"
BATCH_BYTES = 64 << 20
"""About how much of a dataset is decoded at once: rows may hold pictures."""


class Picked(NamedTuple):
    """Rows of one batch that are exported, one for each image."""

    rows: pa.RecordBatch

    positions: NDArray[np.int64]
    """The places of their jobs in the dataset, from 0: (rows,)."""

    splits: Sequence[str]
    """The split of each row: that of its job."""

    numbers: NDArray[np.intp]
    """Which image of its job each row has, from 0: (rows,)."""


class Selection(NamedTuple):
    """Which rows are exported, checked against the columns of a dataset."""

    where: Condition | None
    """A condition over columns; None takes every row."""

    shares: Mapping[str, float]
    """The share of each split but `train`."""

    split_by: str
    """The column whose text decides the split."""

    picks: Picks | None = None
    """Those of `read_picks`; None takes every row."""

    def batches(
        self,
        dataset: pq.ParquetFile,
        size: int,
    ) -> Iterator[Picked]:
        """Yield the selected jobs in order, a row for each of their images, from at most `size` rows
        of the dataset at once."""
        own = our_columns(dataset.schema_arrow)
        start = 0
        # The widest group decides, as one size holds for all batches.
        widest = 1
        for number in range(dataset.metadata.num_row_groups):
            group = dataset.metadata.row_group(number)
            width = group.total_byte_size // max(group.num_rows, 1)
            widest = max(widest, width)
        for batch in dataset.iter_batches(min(size, max(1, BATCH_BYTES // widest))):
            rows = batch
            kept = np.arange(batch.num_rows)
            if self.where is not None:
                columns = {name: batch.column(name) for name in self.where.names}
                # A condition that fits the columns may still meet a value that it can't compare.
                try:
                    kept = np.flatnonzero(self.where.mask(columns, batch.num_rows))
                except ValueError as error:
                    raise UserError(f"--where: {error}") from None
            if self.picks is not None:
                keys = pick_keys(*(batch[name] for name in self.picks.columns))
                is_picked = pc.is_in(keys, value_set=self.picks.keys)
                kept = kept[is_picked.to_numpy(zero_copy_only=False)[kept]]
            if len(kept) < batch.num_rows:
                rows = batch.take(pa.array(kept))
            splits = [TRAIN] * rows.num_rows
            if self.shares:
                texts = as_text(rows.column(self.split_by)).to_pylist()
                splits = [split_of(text or "", self.shares) for text in texts]
            images = split_images(rows, own)
            yield Picked(
                images.rows,
                (start + kept)[images.of_row],
                [splits[at] for at in images.of_row],
                images.numbers,
            )
            start += batch.num_rows


def select(
    schema: pa.Schema,
    where: str | None,
    splits: Sequence[str],
    split_by: str | None,
) -> Selection:
    """Check what the user asked for against the dataset's columns.

    Raises UserError with what is wrong.
    """
    if split_by and not splits:
        raise UserError("--split-by needs --split", hint="for example --split val=0.02")
    column = split_by or our_columns(schema)["row_key"]
    _check_column(column, schema, "--split-by")
    condition = None
    if where is not None:
        try:
            condition = parse(where)
        except ValueError as error:
            raise UserError(f"--where: {error}") from None
        for name in sorted(condition.names):
            _check_column(name, schema, "--where")
    return Selection(condition, parse_shares(splits), column)


def split_of(
    text: str,
    shares: Mapping[str, float],
) -> str:
    """Return the split of a value: its SHA-256 as a fraction of 1, along the shares in their order.

    split_of("cat-01", {"val": 0.02})    # "val" where the hash is below 0.02, else "train"
    """
    # Eight bytes of the hash are finer than any share that a person writes.
    fraction = int.from_bytes(sha256(text.encode()).digest()[:8]) / 2**64
    reached = 0.0
    for name, share in shares.items():
        reached += share
        if fraction < reached:
            return name
    return TRAIN


def parse_shares(splits: Sequence[str]) -> dict[str, float]:
    """Read `val=0.02` and the like.

    Raises UserError for what is not a share, is given twice, or leaves nothing for `train`.
    """
    shares: dict[str, float] = {}
    for text in splits:
        name, _, number = text.partition("=")
        try:
            share = float(number)
        # Not a number: as wrong as one out of range, and told in the same way.
        except ValueError:
            share = 0.0
        is_name = re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name)
        if not is_name or not 0 < share < 1:
            raise UserError(
                f"--split {text} is not a valid split",
                hint="a name and a number between 0 and 1: --split val=0.02",
            )
        if name == TRAIN:
            raise UserError(f"--split {text}: {name} is what the other splits leave")
        if name in shares:
            raise UserError(f"--split {text}: {name} is given twice")
        shares[name] = share
    if sum(shares.values()) >= 1:
        raise UserError(
            "the shares of --split leave nothing for train",
            hint="their sum must be below 1",
        )
    return shares


def _check_column(
    name: str,
    schema: pa.Schema,
    option: str,
) -> None:
    if name not in schema.names:
        suggestion = did_you_mean(name, schema.names)
        raise UserError(f"{option}: the dataset has no column {name!r}{suggestion}")
