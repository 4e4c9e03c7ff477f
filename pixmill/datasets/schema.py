"""One batch of jobs as rows of the dataset: the explicit schema and the join of input and ledger.

To add a column: an entry in `OWN_COLUMNS` (`pixmill/datasets/own_columns.py`), a line in
`ResultTable.rows`, and a column in the ledger's schema where it is a fact about the call.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pixmill.config.model import Config
from pixmill.datasets.own_columns import OWN_COLUMNS
from pixmill.ledger import State
from pixmill.ledger.bulk_lookup import IMAGES
from pixmill.ledger.records import PROBLEMS, SETTLED
from pixmill.planning.job_expander import JobExpander
from pixmill.planning.jobs import JobBatch, by_position
from pixmill.request.sweep import Axis, axis_column

OWN_FIELDS: tuple[tuple[str, pa.DataType], ...] = tuple(
    (of.name, of.type) for of in OWN_COLUMNS
)
"""Names and types of the dataset's own columns, in its order."""

_COPIED = (
    "provider",
    "run_id",
    "request_id",
    "rephraser_result",
    "output_urls",
    "url_expires_at",
    "images",
    "input_image",
    "started_at",
    "finished_at",
    "queue_ms",
    "latency_ms",
    "provider_ms",
    "download_ms",
    "currency",
)
"""Columns of the dataset that are what the ledger knows."""

_AXES_AFTER = "replicate"
"""The column behind which the sweep's axes have theirs."""

DESCRIPTION = b"pixmill"
"""The key of the schema's metadata under which a JSON object says what the columns mean."""


@dataclass
class OutcomeCounts:
    """What a dataset holds, by job; `new` counts the distinct problems that this run brought.

    Of the distinct jobs without an outcome `left` are nobody's and `elsewhere` another run's, which has them in flight.
    """

    status: Counter[str] = field(default_factory=Counter)
    cached: int = 0
    images_missing: int = 0
    left: int = 0
    elsewhere: int = 0
    new: Counter[str] = field(default_factory=Counter)


def result_schema(own: pa.Schema, axes: Sequence[Axis] = ()) -> pa.Schema:
    """Return the dataset's schema: the input's columns, then ours, prefixed with `pixmill_` where a name is taken."""
    taken = set(own.names)
    ours = []
    for name, kind in _our_fields(axes):
        free = name
        while free in taken:
            free = f"pixmill_{free}"
        taken.add(free)
        ours.append(pa.field(free, kind))
    return pa.schema([*own, *ours])


def _our_fields(axes: Sequence[Axis]) -> list[tuple[str, pa.DataType]]:
    fields = list(OWN_FIELDS)
    after = [name for name, _ in fields].index(_AXES_AFTER) + 1
    return [
        *fields[:after],
        *((axis.column, _axis_type(axis)) for axis in axes),
        *fields[after:],
    ]


def _axis_type(axis: Axis) -> pa.DataType:
    return axis_column([of.value for of in axis.values]).type


def description(
    config: Config, maker: JobExpander, schema: pa.Schema, own: pa.Schema
) -> dict[str, Any]:
    """Say what the columns of `schema` mean: the sweep's axes, the columns that are read, and our names."""
    ours = dict(
        zip(
            (name for name, _ in _our_fields(maker.sweep.axes)),
            schema.names[len(own.names) :],
            strict=True,
        )
    )
    return {
        "name": config.name,
        "axes": [
            {
                "path": axis.path,
                "column": ours[axis.column],
                "values": [of._asdict() for of in axis.values],
            }
            for axis in maker.sweep.axes
        ],
        "columns": {
            role: config.input.columns[role] for role in sorted(config.input.columns)
        },
        "row_key": config.input.row_key,
        "own": ours,
        "provider": config.provider.kind,
        "currency": config.budget.currency,
    }


class ResultTable:
    """Builds dataset rows batch by batch and counts what they hold."""

    def __init__(
        self, config: Config, maker: JobExpander, own: pa.Schema, run_id: str
    ) -> None:
        self._config = config
        self._maker = maker
        self._run_id = run_id
        self._by_file = config.output.images != "url"
        schema = result_schema(own, maker.sweep.axes)
        described = json.dumps(
            description(config, maker, schema, own), ensure_ascii=False, allow_nan=False
        )
        self.schema = schema.with_metadata({DESCRIPTION: described.encode()})
        self.counts = OutcomeCounts()

    def rows(
        self, jobs: JobBatch, first: NDArray[np.bool_], known: pa.Table, start: int = 0
    ) -> pa.Table:
        """Return the dataset rows of `jobs` that stand at the positions from `start` on, one for each row of `known`.

        `first` marks the first position of each job key, `known` is what the ledger has for its positions.
        """
        at = start + np.flatnonzero(jobs.taken[start : start + known.num_rows])
        row, variant = np.divmod(at, len(jobs.variants))
        first = first[at]
        known = _as_stored(known.take(at - start))
        keys = pa.array(jobs.keys, pa.string()).take(at)
        settled = pc.fill_null(pc.is_in(known["state"], pa.array(SETTLED)), False)
        status = pc.if_else(
            pc.is_valid(keys), pc.if_else(settled, known["state"], "skipped"), "invalid"
        )
        codes = self._codes(known, status)
        here = pc.and_(
            pc.fill_null(pc.equal(known["run_id"], self._run_id), False),
            pa.array(first),
        )
        cached = pc.and_not(pc.equal(status, "succeeded"), here)
        self._count(known, status, codes, cached, first)
        messages = pc.if_else(
            pc.equal(status, "succeeded"), None, known["error_message"]
        )
        seeds = pc.if_else(
            pc.is_valid(keys),
            pa.array(jobs.seeds, pa.int64()).take(at),
            None,
        )
        columns: dict[str, Any] = {
            "row_number": row + jobs.rows.first_row,
            "row_key": pa.array(self._row_keys(jobs), pa.string()).take(row),
            **self._of_variants(jobs, variant, keys),
            "prompt": pa.array(by_position(jobs.prompts), pa.string()).take(at),
            "params": pa.array(
                [of.params for of in by_position(jobs.shapes)], pa.string()
            ).take(at),
            "seed": seeds,
            "effective_seed": pc.if_else(
                settled, pc.coalesce(known["effective_seed"], seeds), None
            ),
            "status": status,
            "error_code": _overlaid(codes, jobs, row, "reason"),
            "error_message": _overlaid(messages, jobs, row, "message"),
            "attempts": pc.fill_null(known["attempts"], 0),
            "cached": cached,
            "job_key": keys,
            "output_url": _first_of(known["output_urls"]),
            "file_name": pc.struct_field(_first_of(known["images"]), "file_name"),
            "cost": pc.if_else(pa.array(first), known["cost"], None),
        }
        columns |= {name: known[name] for name in _COPIED}
        ours = [
            _array(columns[name], kind)
            for name, kind in _our_fields(self._maker.sweep.axes)
        ]
        own = [column.combine_chunks() for column in jobs.rows.rows.take(row).columns]
        return pa.Table.from_arrays([*own, *ours], schema=self.schema)

    def _row_keys(self, jobs: JobBatch) -> list[str]:
        return (
            jobs.row_keys
            if self._config.input.row_key
            else self._maker.default_row_keys(jobs.rows)
        )

    def _of_variants(
        self, jobs: JobBatch, variant: NDArray[np.intp], keys: pa.Array
    ) -> dict[str, pa.Array]:
        """The columns that say which point and replicate a job is; an invalid row of a sweep is none of them."""
        variants = jobs.variants
        if len(variants) > 1:
            variant = pc.if_else(pc.is_valid(keys), pa.array(variant), None)
        values: dict[str, pa.Array] = {
            "point_id": pa.array([of.point.id for of in variants]),
            "replicate": pa.array([of.replicate for of in variants]),
            "req_key": pa.array([of.req_key for of in variants]),
        }
        for axis in self._maker.sweep.axes:
            values[axis.column] = axis_column(
                [of.point.values[axis.path] for of in variants]
            )
        return {
            name: pc.take(of_variants, variant) for name, of_variants in values.items()
        }

    def _codes(self, known: pa.Table, status: pa.ChunkedArray) -> pa.ChunkedArray:
        succeeded = pc.equal(status, "succeeded")
        missing = pc.and_(succeeded, pc.is_null(known["images"]))
        if not self._by_file:  # a URL will do
            missing = pc.and_(missing, pc.is_null(known["output_urls"]))
        of_image = pc.if_else(
            missing, pc.coalesce(known["image_error"], pa.scalar("image_pending")), None
        )
        left = pc.equal(status, "skipped")
        of_job = pc.if_else(
            left,
            pc.coalesce(known["error_code"], pa.scalar("not_attempted")),
            known["error_code"],
        )
        return pc.if_else(succeeded, of_image, of_job)

    def _count(
        self,
        known: pa.Table,
        status: pa.ChunkedArray,
        codes: pa.ChunkedArray,
        cached: pa.ChunkedArray,
        first: NDArray[np.bool_],
    ) -> None:
        counts = self.counts
        firsts = pa.array(first)
        counts.status.update(_frequencies(status))
        counts.cached += _number(cached)
        lacks = pc.and_(
            pc.and_(pc.equal(status, "succeeded"), pc.is_valid(codes)), firsts
        )
        counts.images_missing += _number(lacks)
        skipped = pc.and_(pc.equal(status, "skipped"), firsts)
        in_flight = pc.fill_null(pc.equal(known["state"], State.IN_FLIGHT.value), False)
        counts.elsewhere += _number(pc.and_(skipped, in_flight))
        counts.left += _number(pc.and_not(skipped, in_flight))
        outcome_here = pc.equal(known["outcome_run"], self._run_id)
        bad = pc.and_(
            pc.and_(pc.is_in(status, pa.array(PROBLEMS)), firsts),
            pc.fill_null(outcome_here, False),
        )
        counts.new.update(_frequencies(status.filter(bad)))
        image_here = pc.fill_null(pc.equal(known["image_run"], self._run_id), False)
        news = _number(
            pc.and_(lacks, pc.or_(image_here, pc.fill_null(outcome_here, False)))
        )
        if news:
            counts.new["images_missing"] += news


def _as_stored(known: pa.Table) -> pa.Table:
    """Leave out images that the store has not taken: the ledger names them beside the code that says so."""
    waits = pc.is_valid(known["image_error"])
    images = pc.if_else(waits, pa.scalar(None, IMAGES), known["images"])
    return known.set_column(known.column_names.index("images"), "images", images)


def _frequencies(texts: pa.ChunkedArray) -> dict[str, int]:
    return {
        pair["values"]: pair["counts"] for pair in pc.value_counts(texts).to_pylist()
    }


def _number(mask: pa.ChunkedArray) -> int:
    return pc.sum(mask).as_py() or 0


def _overlaid(
    values: pa.ChunkedArray, jobs: JobBatch, row: NDArray[np.intp], attribute: str
) -> Any:
    """Return `values` with an attribute of its problem for every invalid row."""
    if not jobs.problems:
        return values
    listed = values.to_pylist()
    for at in np.flatnonzero(np.isin(row, list(jobs.problems))):
        listed[at] = getattr(jobs.problems[int(row[at])], attribute)
    return listed


def _first_of(lists: pa.ChunkedArray) -> pa.Array:
    """Return the first element of each list, null for null and empty ones."""
    whole = lists.combine_chunks()
    filled = pc.fill_null(pc.greater(pc.list_value_length(whole), 0), False).to_numpy(
        zero_copy_only=False
    )
    begins = whole.offsets.to_numpy()[:-1]
    return pc.take(whole.values, pa.array(begins, mask=~filled))


def _array(values: Any, kind: pa.DataType) -> pa.Array:
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    return values.cast(kind) if isinstance(values, pa.Array) else pa.array(values, kind)
