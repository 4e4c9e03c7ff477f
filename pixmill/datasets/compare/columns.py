"""The jobs of one side as columns.

They are numbers wherever numbers do, so that a million rows are some hundred megabytes.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pixmill.datasets.compare.sides import ComparedDataset
from pixmill.datasets.loading import open_dataset
from pixmill.datasets.schema import our_columns
from pixmill.ledger.records import OUTCOMES

BATCH_ROWS = 10_000
MAX_PARAMS = 10_000
"""Distinct parameter sets that are kept of one side; a mapped column could have one for each row."""

_COLUMNS = (
    "row_key",
    "point_id",
    "replicate",
    "status",
    "error_code",
    "job_key",
    "prompt",
    "params",
    "seed",
    "file_name",
    "cost",
    "currency",
    "latency_ms",
    "provider",
)

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Jobs:
    """One value for each job, in the order of the dataset: every array is (jobs,).

    Hashes have 64 bits and can be compared within one process.
    """

    row_key: pa.ChunkedArray
    point_id: pa.ChunkedArray
    replicate: Integers
    file_name: pa.ChunkedArray

    row: Integers
    """The hash of the row key."""

    identity: Integers
    """The hash of row key, point and replicate."""

    job_key: Integers
    """A hash of it; so are the next two."""

    prompt: Integers
    params: Integers

    seed: Integers
    """-1 where it is missing."""

    status: Integers
    """The place in `OUTCOMES`; -1 for an unknown one."""

    usable: NDArray[np.bool_]
    """Whether the image is there."""

    cost: Floats
    """NaN where it is not known."""

    latency_ms: Floats
    """NaN where it is not known."""

    parameter_sets: frozenset[str]
    """The distinct values of `params`, at most `MAX_PARAMS`."""

    currency: str | None
    """That of the costs."""

    providers: frozenset[str]
    """Who answered."""


def read_jobs(side: ComparedDataset) -> Jobs:
    """Read the columns of a side, batch by batch.

    Raises UserError where its dataset is absent or damaged.
    """
    texts: set[str] = set()
    currencies: set[str] = set()
    providers: set[str] = set()
    with open_dataset(side.path) as dataset:
        own = our_columns(dataset.schema_arrow)
        names = [own[name] for name in _COLUMNS]
        nothing = dataset.schema_arrow.empty_table().select(names)
        # An empty part first: a dataset without rows has arrays of the right types too.
        parts = [_read_part(nothing.rename_columns(_COLUMNS).combine_chunks())]
        for batch in dataset.iter_batches(BATCH_ROWS, columns=names):
            columns = pa.table({name: batch.column(own[name]) for name in _COLUMNS})
            parts.append(_read_part(columns))
            currencies.update(_distinct(columns["currency"]))
            providers.update(_distinct(columns["provider"]))
            room = MAX_PARAMS - len(texts)
            texts.update(_distinct(columns["params"])[:room])
    joined = {}
    for name, first in parts[0].items():
        pieces = [part[name] for part in parts]
        if isinstance(first, np.ndarray):
            joined[name] = np.concatenate(pieces)
        else:
            chunks = [chunk for piece in pieces for chunk in piece.chunks]
            joined[name] = pa.chunked_array(chunks, first.type)
    return Jobs(
        **joined,
        parameter_sets=frozenset(texts),
        currency=min(currencies, default=None),
        providers=frozenset(providers),
    )


def _read_part(columns: pa.Table) -> dict[str, Any]:
    """Return the arrays of `Jobs` for one batch, by their names."""
    row_key = columns["row_key"]
    status = columns["status"]
    identity = ("row_key", "point_id", "replicate")
    identities = zip(*(columns[name].to_pylist() for name in identity), strict=True)
    has_succeeded = pc.equal(status, "succeeded")
    # A success with a code lacks its image: image_pending, image_lost.
    is_usable = pc.and_(has_succeeded, pc.is_null(columns["error_code"]))
    return {
        "row_key": row_key,
        "point_id": columns["point_id"].dictionary_encode(),
        "replicate": _numbers(columns["replicate"], 0),
        "file_name": columns["file_name"],
        "row": _hashes(row_key.to_pylist()),
        "identity": _hashes(identities),
        "job_key": _hashes(columns["job_key"].to_pylist()),
        "prompt": _hashes(columns["prompt"].to_pylist()),
        "params": _hashes(columns["params"].to_pylist()),
        "seed": _numbers(columns["seed"], -1),
        "status": _numbers(pc.index_in(status, pa.array(OUTCOMES)), -1),
        "usable": is_usable.to_numpy(),
        "cost": columns["cost"].to_numpy(),
        "latency_ms": columns["latency_ms"].to_numpy(),
    }


def _hashes(values: Iterable[object]) -> Integers:
    return np.fromiter(map(hash, values), np.int64)


def _numbers(
    column: pa.ChunkedArray,
    missing: int,
) -> Integers:
    return pc.fill_null(column.cast(pa.int64()), missing).to_numpy()  # type: ignore[no-any-return]


def _distinct(column: pa.ChunkedArray) -> list[str]:
    return [text for text in column.unique().to_pylist() if text]
