"""Rows become jobs: templates filled in, seeds drawn, keys computed, a batch at a time, at every point and replicate.

`JobExpander` is built once for a config and a table; `expand` is pure, so that the plan, the run and the dataset
each stream the table anew and agree on every job, and none keeps more than a batch in memory.
"""

import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pixmill.conditions import Condition, parse
from pixmill.config.model import Config
from pixmill.errors import TableError
from pixmill.planning.column_checks import check_columns
from pixmill.planning.computed_jobs import ComputedJobs
from pixmill.planning.input_identity import row_images
from pixmill.planning.job_keys import JobKeys
from pixmill.planning.jobs import (
    JobBatch,
    request_variants,
)
from pixmill.planning.json_texts import json_texts
from pixmill.planning.request_shapes import RowShapes
from pixmill.planning.row_checks import (
    RowProblem,
    add_problems,
    blank_problems,
    first_problems,
    problem,
    read_seed,
    seed_problems,
    text_array,
    with_newlines,
)
from pixmill.planning.row_prompts import RowPrompts
from pixmill.request.canonical_json import json_text
from pixmill.request.sweep import make_points
from pixmill.tables import InputTable, RowBatch, as_text
from pixmill.text import to_nfc

_NONE_BAD: Mapping[int, RowProblem] = {}


class _Requested(NamedTuple):
    """What a batch asks for, by the conditions of the config."""

    selected: NDArray[np.bool_]
    """[row]: whether `input.where` lets it in."""
    requested: NDArray[np.bool_]
    """[row, variant]: whether the conditions of the sweep leave this job of a selected row."""
    matches: Mapping[str, int]
    """How often each condition holds: `input.where` for rows, others for selected rows and points."""


class JobExpander:
    """Turns row batches of one table into job batches under one config."""

    def __init__(
        self,
        config: Config,
        table: InputTable,
    ) -> None:
        self._config = config
        self._input = config.input
        self.sweep = make_points(config.sweep, config.request)
        self.variants = request_variants(config, self.sweep.points)
        operations = self.sweep.operations(config.request)
        self.image_limits = tuple(
            dict.fromkeys(operation.images for operation in operations)
        )
        # Of each variant. The replicates of a point differ in their seeds only.
        self._point_of = [
            at for at in range(len(self.sweep.points)) for _ in range(config.replicates)
        ]
        self._seed_column = config.input.column("seed")
        self._prompts = RowPrompts(config, self.sweep)
        self._row_filter = (
            None if config.input.where is None else parse(config.input.where)
        )
        # In the order of their roles, each once; a config may name none for a role.
        named = [
            *self._input.image_columns,
            *self._prompts.columns,
            *(column for _, column in sorted(self._input.field_columns.items())),
            self._seed_column,
        ]
        self.read_columns = tuple(dict.fromkeys(name for name in named if name))
        of_conditions = {*self.sweep.columns}
        if self._row_filter:
            of_conditions.update(self._row_filter.names)
        needed = [*self.read_columns, *config.input.row_key, *sorted(of_conditions)]
        check_columns(table, config, needed, [axis.path for axis in self.sweep.axes])
        # What is wrong with a cell of any other column does not make its row invalid.
        self._used = frozenset(needed)
        self._shapes = RowShapes(config, self.sweep)
        self._job_keys = JobKeys(config, self.variants, self._point_of)

    def expand(
        self,
        batch: RowBatch,
        conflicts: frozenset[int] = frozenset(),
        bad_images: Mapping[int, RowProblem] = _NONE_BAD,
        computed: ComputedJobs | None = None,
    ) -> JobBatch:
        """Return the jobs of `batch`, with the problem of every row that is invalid.

        A row is invalid as a whole where one of its jobs would be, where its number is among `bad_images`, or where
        its row key is among the `conflicts` (hashes of row keys whose rows contradict each other). Keys and seeds that
        an earlier call `computed` for the same rows are not computed again.
        """
        # The table has not changed since they were computed, and passed: checks take a third of the time.
        check = not (computed and computed.are_valid)
        texts = self._texts(batch)
        line_problems, unread = self._line_problems(batch)
        # Seeds depend on the cell, not on the template around it, so that a new style keeps its seed.
        raw_prompts = texts.get(self._prompts.column or "")
        filled = self._prompts.fill(texts, batch.rows.num_rows, check=check)
        prompts = self._prompts.by_point(filled.by_wording)
        images = row_images(self._config, batch, texts, self.image_limits, check=check)
        shapes, field_problems = self._shapes.of(batch, texts)
        given, bad_seeds = self._given_seeds(texts)
        row_keys, key_problems = self._row_keys(batch, texts, check=check)
        selected, requested, matches = self._mark_requested(batch)
        # Of a row with several problems, the first of these checks tells its own. Problems of the line come first, as
        # the cells of such a row may be those of other columns; those that need other rows come last.
        found = first_problems(
            line_problems,
            filled.problems,
            images.problems,
            batch.at_positions(bad_images),
            field_problems,
            bad_seeds,
            key_problems,
            self._conflicts(row_keys, conflicts, requested),
        )
        # Nobody asked for the rows that `input.where` leaves out.
        problems = {row: found[row] for row in found if selected[row]}
        requested[list(problems)] = False
        # An invalid row of the table is one row of the dataset, at its first variant.
        in_dataset = requested.copy()
        in_dataset[list(problems), 0] = True
        if computed is None:
            identities = images.images.identities
            seeds = self._job_keys.draw_seeds(identities, raw_prompts, given, row_keys)
            json_prompts = self._prompts.by_point([*map(json_texts, filled.by_wording)])
            computed = self._job_keys.compute(identities, json_prompts, seeds, shapes)
        keys: list[str | None] = [*computed.keys]
        for position in np.flatnonzero(~requested.ravel()).tolist():
            keys[position] = None
        notes = {"unread_cell": unread, **images.notes}
        return JobBatch(
            rows=batch,
            variants=self.variants,
            problems=problems,
            selected=selected,
            in_dataset=in_dataset.ravel(),
            keys=keys,
            all_keys=computed.keys,
            prompts=[prompts[at] for at in self._point_of],
            numbers=computed.numbers,
            shapes=[shapes[at] for at in self._point_of],
            images=images.images,
            row_keys=row_keys,
            long_prompts=filled.long,
            notes=_count_in_rows_with_jobs(notes, requested),
            matches=matches,
        )

    def select_rows(self, batch: RowBatch) -> NDArray[np.bool_]:
        """Mark the rows that `input.where` lets in, all of them without it."""
        if self._row_filter:
            return _mask(self._row_filter, "input.where", batch, {})
        return np.ones(batch.rows.num_rows, np.bool_)

    @property
    def rephrases(self) -> bool:
        """Whether the provider rewrites the prompts of all jobs."""
        return self._shapes.rephrases

    @property
    def reads_prompts(self) -> bool:
        """Whether prompts have something of their row in them."""
        return bool(self._prompts.template.columns)

    def _texts(self, batch: RowBatch) -> dict[str, pa.Array]:
        """Return the columns that are read, as text."""
        texts = {
            name: text_array(as_text(batch.rows[name]))
            for name in {*self.read_columns, *self._input.row_key}
        }
        for name in self._prompts.columns:
            texts[name] = with_newlines(texts[name])
        return texts

    def _line_problems(
        self, batch: RowBatch
    ) -> tuple[dict[int, RowProblem], NDArray[np.bool_]]:
        """Return what the table says is wrong with rows, and mark those where nothing reads what is wrong."""
        problems: dict[int, RowProblem] = {}
        unread = np.zeros(batch.rows.num_rows, np.bool_)
        for row, first in batch.problems.items():
            for each in (first, *first.others):
                # A problem of no column is one of the whole line.
                if not each.column or each.column in self._used:
                    problems[row] = RowProblem(each.reason, each.column, each.message)
                    break
            else:
                unread[row] = True
        return problems, unread

    def _given_seeds(
        self, texts: Mapping[str, pa.Array]
    ) -> tuple[list[int], dict[int, RowProblem]]:
        """Return the seeds that a column gives and the problems; none where no column is to give them."""
        problems: dict[int, RowProblem] = {}
        if self._seed_column is None or self._config.seed.policy == "fixed":
            return [], problems
        given = [read_seed(value) for value in texts[self._seed_column].to_pylist()]
        add_problems(problems, seed_problems(given, self._seed_column))
        return [seed or 0 for seed in given], problems

    def _row_keys(
        self,
        batch: RowBatch,
        texts: Mapping[str, pa.Array],
        *,
        check: bool,
    ) -> tuple[list[str], dict[int, RowProblem]]:
        problems: dict[int, RowProblem] = {}
        names = self._input.row_key
        if not names:
            return [""] * batch.rows.num_rows, problems
        for name in names if check else ():
            add_problems(problems, blank_problems(texts[name], name, "missing_row_key"))
        columns = [texts[name].to_pylist() for name in names]
        if len(columns) == 1:
            return [value or "" for value in columns[0]], problems
        keys = [
            json.dumps(
                values, ensure_ascii=False, separators=(",", ":"), allow_nan=False
            )
            for values in zip(*columns, strict=True)
        ]
        return keys, problems

    def _conflicts(
        self,
        row_keys: Sequence[str],
        conflicts: frozenset[int],
        requested: NDArray[np.bool_],
    ) -> dict[int, RowProblem]:
        """Return the problem of rows whose keys are among the `conflicts`; rows without jobs contradict nobody."""
        if not conflicts:
            return {}
        bad = problem("duplicate_row_key", self.key_column)
        with_jobs = np.flatnonzero(requested.any(axis=1)).tolist()
        return {row: bad for row in with_jobs if hash(row_keys[row]) in conflicts}

    @property
    def key_column(self) -> str | None:
        """The column that is at fault where a row key is, `None` where it is several."""
        return self._input.row_key[0] if len(self._input.row_key) == 1 else None

    def default_row_keys(self, batch: RowBatch) -> list[str]:
        """Return the row keys of a table without `row_key`: 16 hex over the texts of the columns that are read."""
        columns = [
            text_array(as_text(batch.rows[name])).to_pylist()
            for name in self.read_columns
        ]
        # Rows of which nothing is read all ask for the same.
        rows = zip(*columns, strict=True) if columns else [()] * batch.rows.num_rows
        joined = (
            ",".join(
                "null" if value is None else json_text(to_nfc(value)) for value in row
            )
            for row in rows
        )
        return [sha256(f"[{text}]".encode()).hexdigest()[:16] for text in joined]

    def _mark_requested(self, batch: RowBatch) -> _Requested:
        """Mark the rows that `input.where` lets in, and of their jobs those that the conditions of the sweep leave."""
        matches: dict[str, int] = {}
        selected = self.select_rows(batch)
        if self._row_filter:
            matches["input.where"] = int(selected.sum())
        requested = np.repeat(selected[:, None], len(self.variants), axis=1)
        for row in self.sweep.row_conditions:
            matches[row.config_path] = 0
            for at, point in enumerate(self.sweep.points):
                here = slice(
                    at * self._config.replicates,
                    (at + 1) * self._config.replicates,
                )
                holds = _mask(
                    row.condition, row.config_path, batch, self.sweep.cells_at(point)
                )
                requested[:, here] &= (holds == row.keep_when)[:, None]
                matches[row.config_path] += int((holds & selected).sum())
        return _Requested(selected, requested, matches)


def _count_in_rows_with_jobs(
    notes: Mapping[str, NDArray[np.bool_]],
    requested: NDArray[np.bool_],
) -> dict[str, int]:
    """Count the rows that each note marks, but for those of which nothing is requested."""
    with_jobs = requested.any(axis=1)
    return {name: int(mask[with_jobs].sum()) for name, mask in notes.items()}


def _mask(
    condition: Condition,
    config_path: str,
    batch: RowBatch,
    values: Mapping[str, object],
) -> NDArray[np.bool_]:
    columns = {
        name: batch.rows[name].combine_chunks()
        for name in condition.names
        if name not in values
    }
    try:
        return condition.mask({**columns, **values}, batch.rows.num_rows)
    except ValueError as error:
        raise TableError(
            f"{config_path}: {error}", hint=f"the condition is {condition.text}"
        ) from None
