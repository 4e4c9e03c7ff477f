"""The jobs of one side as columns: numbers where numbers do, so that a million rows are some hundred megabytes."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pixmill.datasets.compare.sides import ComparedDataset
from pixmill.datasets.loading import opened, own_columns
from pixmill.ledger.records import OUTCOMES

BATCH_ROWS = 10_000
MAX_PARAMS = 10_000
"""Distinct parameter sets that are kept of one side; a mapped column could have one for each row."""

_COLUMNS = (
    *(
        "row_key",
        "point_id",
        "replicate",
        "status",
        "error_code",
        "job_key",
        "prompt",
        "params",
        "seed",
    ),
    *("file_name", "cost", "currency", "latency_ms"),
)

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Jobs:
    """One value per job, in the order of the dataset.

    `row`, `identity` (row key, point and replicate), `job_key`, `prompt` and `params` are 64-bit hashes, comparable
    within one process. `status` counts along `OUTCOMES`, `usable` says that the image is there; a missing seed
    is -1, a missing cost or latency (ms) is NaN. `parameter_sets` are the distinct values of `params`, at most
    `MAX_PARAMS`; `currency` is that of the costs.
    """

    row_key: pa.ChunkedArray
    point_id: pa.ChunkedArray
    replicate: Integers
    file_name: pa.ChunkedArray
    row: Integers
    identity: Integers
    job_key: Integers
    prompt: Integers
    params: Integers
    seed: Integers
    status: Integers
    usable: NDArray[np.bool_]
    cost: Floats
    latency_ms: Floats
    parameter_sets: frozenset[str]
    currency: str | None


def read_jobs(side: ComparedDataset) -> Jobs:
    """Read the columns of a side, batch by batch. Raises UserError where its dataset is absent or damaged."""
    texts: set[str] = set()
    currencies: set[str] = set()
    with opened(side.path) as dataset:
        own = own_columns(dataset.schema_arrow)
        nothing = dataset.schema_arrow.empty_table().select(
            [own[name] for name in _COLUMNS]
        )
        parts = [_part(nothing.rename_columns(_COLUMNS).combine_chunks())]
        for batch in dataset.iter_batches(
            batch_size=BATCH_ROWS, columns=nothing.schema.names
        ):
            columns = pa.table({name: batch.column(own[name]) for name in _COLUMNS})
            parts.append(_part(columns))
            currencies.update(_distinct(columns["currency"]))
            texts.update(_distinct(columns["params"])[: MAX_PARAMS - len(texts)])
    joined = {name: _joined([part[name] for part in parts]) for name in parts[0]}
    return Jobs(
        **joined,
        parameter_sets=frozenset(texts),
        currency=min(currencies, default=None),
    )


def _part(columns: pa.Table) -> dict[str, Any]:
    row_key = columns["row_key"]
    status = columns["status"]
    identities = zip(
        *(columns[name].to_pylist() for name in ("row_key", "point_id", "replicate")),
        strict=True,
    )
    return {
        "row_key": row_key,
        "point_id": columns["point_id"].dictionary_encode(),
        "replicate": _numbers(columns["replicate"], 0),
        "file_name": columns["file_name"],
        "row": _hashes(row_key.to_pylist()),
        "identity": _hashes(identities),
        **{
            name: _hashes(columns[name].to_pylist())
            for name in ("job_key", "prompt", "params")
        },
        "seed": _numbers(columns["seed"], -1),
        "status": _numbers(pc.index_in(status, pa.array(OUTCOMES)), -1),
        "usable": pc.and_(
            pc.equal(status, "succeeded"), pc.is_null(columns["error_code"])
        ).to_numpy(),
        "cost": columns["cost"].to_numpy(),
        "latency_ms": columns["latency_ms"].to_numpy(),
    }


def _hashes(values: Iterable[object]) -> Integers:
    return np.fromiter(map(hash, values), np.int64)


def _numbers(column: pa.ChunkedArray, missing: int) -> Integers:
    return pc.fill_null(column.cast(pa.int64()), missing).to_numpy()  # type: ignore[no-any-return]


def _joined(parts: list[Any]) -> Any:
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)
    return pa.chunked_array(
        [chunk for part in parts for chunk in part.chunks], parts[0].type
    )


def _distinct(column: pa.ChunkedArray) -> list[str]:
    return [text for text in column.unique().to_pylist() if text]
