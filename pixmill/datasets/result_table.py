"""One batch of jobs as rows of the dataset: the join of input and outcomes, and what they count.

Every column is declared in `OUR_COLUMNS`. Those with `from_ledger` are copied by `call_columns`;
the rest are computed in `ResultTable.request_columns`, `ResultTable.status_columns` and
`call_columns`.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pixmill.config.model import Config
from pixmill.datasets.candidate_columns import candidate_columns, extra_fields
from pixmill.datasets.our_columns import OUR_COLUMNS
from pixmill.datasets.schema import DESCRIPTION, description, our_fields, result_schema
from pixmill.datasets.score_columns import input_hashes
from pixmill.ledger import State
from pixmill.ledger.bulk_lookup import IMAGES
from pixmill.ledger.records import PROBLEMS, SETTLED
from pixmill.planning.job_expander import JobExpander
from pixmill.planning.jobs import JobBatch, by_position
from pixmill.quality.score_columns import ScoreColumns, first_image_hashes, first_of
from pixmill.request.sweep import axis_column

_NO_SCORES = ScoreColumns()


@dataclass
class OutcomeCounts:
    """What a dataset holds."""

    status: Counter[str] = field(default_factory=Counter)
    """Rows by their status."""
    cached: int = 0
    """Rows that cost this run nothing."""
    images_missing: int = 0
    """Distinct jobs that are paid for and have no image."""
    left: int = 0
    """Distinct jobs without an outcome that nobody has in flight."""
    elsewhere: int = 0
    """Distinct jobs without an outcome that another run has in flight."""
    still_running: int = 0
    """Distinct jobs without an outcome whose tasks work at the provider."""
    new: Counter[str] = field(default_factory=Counter)
    """Distinct problems that this run brought, by what they are."""


class _Rows(NamedTuple):
    """The jobs of a batch that become rows of the dataset, an element of each array for each
    row."""

    jobs: JobBatch
    at: NDArray[np.intp]
    """The position of the job in its batch."""
    row: NDArray[np.intp]
    """The number of the input row in the batch, from 0."""
    variant: NDArray[np.intp]
    """Which of the requests that are made of each row it is."""
    is_first: pa.BooleanArray
    """Whether no job before, in the whole table, has the same key."""
    keys: pa.StringArray
    """The job key, null for an invalid row."""

    def pick_by_variant(
        self, by_variant: Sequence[list[Any]], kind: pa.DataType
    ) -> pa.Array:
        """Return values that the batch has as one list for each variant, for each of these rows."""
        return self.pick(pa.array(by_position(by_variant), kind), self.at)

    def prompts(self) -> pa.Array:
        """Return the prompts, which the batch has as one column for each variant."""
        columns = self.jobs.prompts
        if len(columns) == 1:
            return self.pick(columns[0], self.row)
        begins = self.variant * len(columns[0])
        return pa.concat_arrays(columns).take(pa.array(begins + self.row))

    def pick(self, values: Any, at: NDArray[np.intp]) -> Any:
        """Return `values`, an array or table, at `at`, which ascends; without a copy where nothing
        is left out."""
        # Most tables have neither invalid rows nor a sweep: then it is all of the batch, or a slice
        # of it.
        if len(at) and at[-1] - at[0] == len(at) - 1:
            return values.slice(int(at[0]), len(at))
        return values.take(pa.array(at))


class ResultTable:
    """Builds dataset rows batch by batch and counts what they hold."""

    def __init__(
        self,
        config: Config,
        expander: JobExpander,
        input_schema: pa.Schema,
        run_id: str,
        scores: ScoreColumns = _NO_SCORES,
    ) -> None:
        self._config = config
        self._scores = scores
        self._expander = expander
        self._run_id = run_id
        self._by_file = config.output.images != "url"
        self._extra = extra_fields(config, scores)
        schema = result_schema(input_schema, expander.sweep.axes, self._extra)
        described = json.dumps(
            description(config, expander, schema, input_schema),
            ensure_ascii=False,
            allow_nan=False,
        )
        self.schema = schema.with_metadata({DESCRIPTION: described.encode()})
        ours = [name for name, _ in [*our_fields(expander.sweep.axes), *self._extra]]
        self.our_names: Mapping[str, str] = dict(
            zip(ours, schema.names[len(input_schema) :], strict=True)
        )
        """What each of our columns is called here."""
        self.counts = OutcomeCounts()

    def rows(
        self,
        jobs: JobBatch,
        first: NDArray[np.bool_],
        outcomes: pa.Table,
        start: int = 0,
    ) -> pa.Table:
        """Return the dataset rows of `jobs` that are at the positions from `start` on, one for each
        row of `outcomes`.

        `first` marks the first position of each job key, `outcomes` is what the ledger has for its
        positions.
        """
        at = start + np.flatnonzero(jobs.in_dataset[start : start + outcomes.num_rows])
        row, variant = np.divmod(at, len(jobs.variants))
        keys = pa.array(jobs.keys, pa.string()).take(pa.array(at))
        rows = _Rows(jobs, at, row, variant, pa.array(first[at]), keys)
        outcomes = rows.pick(outcomes, at - start)
        # Images that the store has not taken are in the ledger, beside the code that says so.
        is_unstored = pc.is_valid(outcomes["image_error"])
        images = pc.if_else(is_unstored, pa.scalar(None, IMAGES), outcomes["images"])
        at_images = outcomes.column_names.index("images")
        outcomes = outcomes.set_column(at_images, "images", images)
        columns = self.request_columns(rows)
        columns |= self.status_columns(rows, outcomes)
        # Last, as what a call says depends on how its job ended.
        columns |= call_columns(rows, outcomes, columns["status"], columns["seed"])
        self._count(rows, outcomes, columns)
        columns |= self._score_columns(rows, outcomes)
        if self._config.quality.until:
            columns |= candidate_columns(jobs, at, rows.variant, keys)
        ours = []
        for name, kind in [*our_fields(self._expander.sweep.axes), *self._extra]:
            values = columns[name]
            if isinstance(values, pa.ChunkedArray):
                values = values.combine_chunks()
            is_array = isinstance(values, pa.Array)
            ours.append(values.cast(kind) if is_array else pa.array(values, kind))
        inputs = rows.pick(jobs.rows.rows, row)
        input_columns = [column.combine_chunks() for column in inputs.columns]
        return pa.Table.from_arrays([*input_columns, *ours], schema=self.schema)

    def _score_columns(self, rows: _Rows, outcomes: pa.Table) -> dict[str, pa.Array]:
        if not self._scores.fields:
            return {}
        inputs = pa.nulls(outcomes.num_rows, pa.string())
        if self._scores.read_inputs:
            inputs = input_hashes(rows.jobs, rows.row, outcomes["input_image"])
        return self._scores.columns(first_image_hashes(outcomes), inputs, outcomes)

    def request_columns(self, rows: _Rows) -> dict[str, Any]:
        """Return the columns that say what is asked for."""
        jobs = rows.jobs
        row_keys = (
            jobs.row_keys
            if self._config.input.row_key
            else self._expander.default_row_keys(jobs.rows)
        )
        numbers = rows.pick(pa.array(jobs.numbers, pa.int64()), rows.at)
        has_seed = pa.array([variant.has_seed for variant in jobs.variants])
        is_drawn = pc.and_(rows.keys.is_valid(), has_seed.take(pa.array(rows.variant)))
        by_variant = rows.jobs.shapes
        if self._config.input.field_columns:
            params = [[shape.params for shape in shapes] for shapes in by_variant]
            params = rows.pick_by_variant(params, pa.string())
        else:
            # The same in all rows: a text for each variant is made once.
            texts = [shapes[0].params for shapes in by_variant if shapes]
            params = pa.array(texts, pa.string()).take(pa.array(rows.variant))
        return {
            "row_number": rows.row + jobs.rows.first_row,
            "row_key": rows.pick(pa.array(row_keys, pa.string()), rows.row),
            **self._variant_columns(rows),
            "prompt": rows.prompts(),
            "params": params,
            "seed": pc.if_else(is_drawn, numbers, None),
            "job_key": rows.keys,
        }

    def _variant_columns(self, rows: _Rows) -> dict[str, pa.Array]:
        """Return the columns that say which point and replicate a job is; an invalid row of a sweep
        is none of them."""
        variants = rows.jobs.variants
        variant = pa.array(rows.variant)
        if len(variants) > 1:
            variant = pc.if_else(rows.keys.is_valid(), variant, None)
        values: dict[str, pa.Array] = {
            "point_id": pa.array([variant.point.id for variant in variants]),
            "replicate": pa.array([variant.replicate for variant in variants]),
            "req_key": pa.array([variant.req_key for variant in variants]),
        }
        for axis in self._expander.sweep.axes:
            values[axis.column] = axis_column(
                [variant.point.values[axis.path] for variant in variants]
            )
        return {
            name: pc.take(by_variant, variant) for name, by_variant in values.items()
        }

    def status_columns(self, rows: _Rows, outcomes: pa.Table) -> dict[str, Any]:
        """Return the columns that say what became of the jobs."""
        settled = pc.fill_null(pc.is_in(outcomes["state"], pa.array(SETTLED)), False)
        status = pc.if_else(
            rows.keys.is_valid(),
            pc.if_else(settled, outcomes["state"], "skipped"),
            "invalid",
        )
        succeeded = pc.equal(status, "succeeded")
        # A job that was left without an outcome may have the code of an attempt that is to be made again.
        left_codes = pc.coalesce(outcomes["error_code"], pa.scalar("not_attempted"))
        is_running = pc.fill_null(
            pc.equal(outcomes["state"], State.SUBMITTED.value), False
        )
        left_codes = pc.if_else(is_running, pa.scalar("still_running"), left_codes)
        is_left = pc.equal(status, "skipped")
        job_codes = pc.if_else(is_left, left_codes, outcomes["error_code"])
        missing = pc.and_(succeeded, pc.is_null(outcomes["images"]))
        # Where no file is wanted, a URL is all of an image.
        if not self._by_file:
            missing = pc.and_(missing, pc.is_null(outcomes["output_urls"]))
        reason = pc.coalesce(outcomes["image_error"], pa.scalar("image_pending"))
        image_codes = pc.if_else(missing, reason, None)
        codes = pc.if_else(succeeded, image_codes, job_codes)
        # What an earlier call said is not about a task that works.
        messages = pc.if_else(
            pc.or_(succeeded, is_running), None, outcomes["error_message"]
        )
        paid_here = pc.and_(
            pc.fill_null(pc.equal(outcomes["run_id"], self._run_id), False),
            rows.is_first,
        )
        return {
            "status": status,
            "error_code": _overlay(codes, rows, "reason"),
            "error_message": _overlay(messages, rows, "message"),
            "cached": pc.and_not(succeeded, paid_here),
        }

    def _count(
        self, rows: _Rows, outcomes: pa.Table, columns: Mapping[str, pa.ChunkedArray]
    ) -> None:
        """Add what the rows hold to `counts`; what is counted by job is counted at the first of its
        rows."""
        counts = self.counts
        status = columns["status"]
        counts.status.update(_frequencies(status))
        counts.cached += _number(columns["cached"])
        has_code = pc.is_valid(columns["error_code"])
        lacks_images = _all_of(pc.equal(status, "succeeded"), has_code, rows.is_first)
        counts.images_missing += _number(lacks_images)
        skipped = pc.and_(pc.equal(status, "skipped"), rows.is_first)
        in_flight, submitted = (
            pc.and_(
                skipped, pc.fill_null(pc.equal(outcomes["state"], state.value), False)
            )
            for state in (State.IN_FLIGHT, State.SUBMITTED)
        )
        counts.elsewhere += _number(in_flight)
        counts.still_running += _number(submitted)
        counts.left += _number(pc.and_not(skipped, pc.or_(in_flight, submitted)))
        self.count_new(rows, outcomes, status, lacks_images)

    def count_new(
        self,
        rows: _Rows,
        outcomes: pa.Table,
        status: pa.ChunkedArray,
        lacks_images: pa.ChunkedArray,
    ) -> None:
        """Count the problems that this run brought: calls that failed, and images that went
        missing."""
        outcome_here, image_here = (
            pc.fill_null(pc.equal(outcomes[name], self._run_id), False)
            for name in ("outcome_run", "image_run")
        )
        is_problem = pc.is_in(status, pa.array(PROBLEMS))
        problems = _all_of(is_problem, rows.is_first, outcome_here)
        self.counts.new.update(_frequencies(status.filter(problems)))
        news = _number(pc.and_(lacks_images, pc.or_(image_here, outcome_here)))
        if news:
            self.counts.new["images_missing"] += news


def call_columns(
    rows: _Rows, outcomes: pa.Table, status: pa.ChunkedArray, seeds: pa.Array
) -> dict[str, Any]:
    """Return the columns that say how the call went, as the ledger knows it."""
    copied = {
        column.name: outcomes[column.name]
        for column in OUR_COLUMNS
        if column.from_ledger
    }
    settled = pc.is_in(status, pa.array(SETTLED))
    sent_seeds = pc.coalesce(outcomes["effective_seed"], seeds)
    # A ledger of an earlier version counted only URLs and files.
    listed = [
        pc.list_value_length(outcomes[name]) for name in ("output_urls", "images")
    ]
    counts = pc.coalesce(outcomes["image_count"].cast(pa.int32()), *listed)
    return copied | {
        "attempts": pc.fill_null(outcomes["attempts"], 0),
        "output_url": first_of(outcomes["output_urls"]),
        "file_name": pc.struct_field(first_of(outcomes["images"]), "file_name"),
        # On one row of a key alone, so that the column can be summed.
        "cost": pc.if_else(rows.is_first, outcomes["cost"], None),
        "effective_seed": pc.if_else(settled, sent_seeds, None),
        "image_count": pc.if_else(pc.equal(status, "succeeded"), counts, None),
    }


def _all_of(*masks: Any) -> Any:
    return reduce(pc.and_, masks)


def _frequencies(texts: pa.ChunkedArray) -> dict[str, int]:
    return {
        pair["values"]: pair["counts"] for pair in pc.value_counts(texts).to_pylist()
    }


def _number(mask: pa.ChunkedArray) -> int:
    return pc.sum(mask).as_py() or 0


def _overlay(values: pa.ChunkedArray, rows: _Rows, attribute: str) -> Any:
    """Return `values` with an attribute of its problem for every invalid row."""
    problems = rows.jobs.problems
    if not problems:
        return values
    listed = values.to_pylist()
    for at in np.flatnonzero(np.isin(rows.row, list(problems))):
        listed[at] = getattr(problems[int(rows.row[at])], attribute)
    return pa.array(listed, pa.string())
