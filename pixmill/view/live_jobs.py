"""The jobs of a run that is under way, a page of them at a time, from table and ledger.

The dataset is published when a run has ended. Until then its rows are made here as a publication
makes them, but only those that somebody looks at: a page costs as much in a table of a million rows
as in one of a thousand, but for the rows before it, which are read and passed over.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterator
from itertools import groupby
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pixmill.config.model import Config
from pixmill.datasets.result_table import ResultTable
from pixmill.datasets.schema import our_columns
from pixmill.datasets.score_columns import empty_score_columns
from pixmill.ledger import Ledger, State, queries
from pixmill.planning.job_expander import JobExpander
from pixmill.planning.jobs import JobBatch
from pixmill.tables import RowBatch, open_table

_KEPT_PAGES = 4
"""Pages whose jobs are kept: whoever turns back and forth does not wait for the table."""


class _PagePart(NamedTuple):
    """The jobs of a page that are of one file of the table."""

    jobs: JobBatch
    """Of the rows that are selected, as if there were no others."""

    row_numbers: NDArray[np.int64]
    """[row]: their numbers in the table."""


class LiveJobs:
    """Reads the jobs of a config page by page, `page_jobs` of them at most.

    A page has the jobs of so many rows that `input.where` selects. With `quality.until` it shows
    one candidate of each row and point, as the dataset will: the last that was drawn, or the first.
    """

    def __init__(self, config: Config, page_jobs: int) -> None:
        source = config.input
        self._config = config
        self._table = open_table(
            source.path, encoding=source.encoding, delimiter=source.delimiter
        )
        self._expander = JobExpander(config, self._table)
        # A row with more jobs than fit on a page is on a page of its own.
        self.page_rows = max(1, page_jobs // len(self._expander.variants))
        """Rows of a full page, of those that are selected."""
        self._pages: OrderedDict[int, tuple[_PagePart, ...]] = OrderedDict()
        self._unfinished: set[int] = set()
        """Pages on which a picture is still to be fetched, when they were read last."""
        self._lock = threading.Lock()

    def read_page(self, number: int, ledger: Ledger) -> pa.Table:
        """Return the rows of a page, from 1 on, as a dataset would have them now.

        Raises TableError where the table changed under the run.
        """
        results = ResultTable(
            self._config,
            self._expander,
            self._table.schema,
            run_id="",
            scores=empty_score_columns(self._config),
        )
        parts = [
            self._read_part(part, results, ledger) for part in self._parts_of(number)
        ]
        if not parts:
            return results.schema.empty_table()
        rows = pa.concat_tables(parts)
        if self._has_pictures_to_come(rows):
            self._unfinished.add(number)
        else:
            self._unfinished.discard(number)
        return rows

    def _read_part(
        self,
        part: _PagePart,
        results: ResultTable,
        ledger: Ledger,
    ) -> pa.Table:
        jobs = part.jobs
        inputs = pa.nulls(len(jobs.keys), pa.string())
        if self._config.input.images != "url":
            kept = ledger.kept_inputs(jobs.images.sources[0])
            of_rows = np.arange(len(jobs.keys)) // len(jobs.variants)
            inputs = pa.array(kept, pa.string()).take(of_rows)
        outcomes = pa.concat_tables(ledger.outcomes(jobs.keys))
        outcomes = outcomes.append_column("input_image", inputs)
        if self._config.quality.until:
            # One each, whatever was drawn: a page that is open can't be given more jobs.
            newest = _mark_newest_candidates(
                outcomes["state"],
                self._config.replicates,
            )
            jobs = jobs._replace(in_dataset=jobs.in_dataset & newest)
        # Of jobs with one key only the first has the cost in a dataset: here each shows it.
        is_first = np.ones(len(jobs.keys), np.bool_)
        rows = results.rows(jobs, is_first, outcomes)
        at = rows.schema.get_field_index(our_columns(rows.schema)["row_number"])
        field = rows.schema.field(at)
        places = rows.column(at).to_numpy() - jobs.rows.first_row
        numbers = pa.array(part.row_numbers[places], field.type)
        return rows.set_column(at, field, numbers)

    def has_changed(
        self,
        number: int,
        ledger: Ledger,
        run_id: str,
        last_attempt: int,
    ) -> bool:
        """Whether a page may be another than when the call `last_attempt` was the newest one.

        To make a page takes forty milliseconds of a processor, which a run that answers a thousand
        calls a second on other pages would have to do without.
        """
        if not last_attempt or number in self._unfinished:
            return True
        called = set(ledger.read(queries.jobs_called_after, run_id, last_attempt))
        return any(
            not called.isdisjoint(part.jobs.all_keys) for part in self._parts_of(number)
        )

    def _has_pictures_to_come(self, rows: pa.Table) -> bool:
        """Whether a job is paid for whose picture is on its way, of which no call will tell."""
        if self._config.output.images == "url":
            return False
        ours = our_columns(rows.schema)
        is_paid = pc.equal(rows[ours["status"]], "succeeded")
        lacks_file = pc.is_null(rows[ours["file_name"]])
        return bool(pc.any(pc.and_(is_paid, lacks_file)).as_py())

    def _parts_of(self, number: int) -> tuple[_PagePart, ...]:
        """Return the jobs of a page; nothing behind the last one."""
        with self._lock:
            if number not in self._pages:
                self._pages[number] = tuple(self._expand_page(number))
            self._pages.move_to_end(number)
            if len(self._pages) > _KEPT_PAGES:
                self._pages.popitem(last=False)
            return self._pages[number]

    def _expand_page(self, number: int) -> Iterator[_PagePart]:
        first = (number - 1) * self.page_rows
        end = first + self.page_rows
        passed = 0
        found: list[tuple[RowBatch, NDArray[np.intp]]] = []
        for batch in self._table.batches(self.page_rows):
            selected = np.flatnonzero(self._expander.select_rows(batch))
            here = selected[max(0, first - passed) : end - passed]
            if len(here):
                found.append((batch, here))
            passed += len(selected)
            if passed >= end:
                break
        # Together, as few rows of each batch may be selected; but paths of local images are
        # relative to the file that they are in.
        for file, group in groupby(found, key=lambda part: part[0].file):
            pieces = list(group)
            picked = [batch.rows.take(pa.array(at)) for batch, at in pieces]
            problems = [
                batch.problems.get(row) for batch, at in pieces for row in at.tolist()
            ]
            rows = RowBatch(
                first_row=1,
                rows=pa.concat_tables(picked).combine_chunks(),
                problems={row: each for row, each in enumerate(problems) if each},
                file=file,
            )
            numbers = [batch.first_row + at for batch, at in pieces]
            yield _PagePart(
                self._expander.expand(rows),
                np.concatenate(numbers),
            )


def _mark_newest_candidates(
    states: pa.ChunkedArray, candidates: int
) -> NDArray[np.bool_]:
    """Mark by position the last candidate of each row and point that has an outcome, the first where
    none has."""
    ended = pa.array(
        [State.SUCCEEDED, State.FAILED, State.REFUSED, State.IN_DOUBT], pa.string()
    )
    has_outcome = pc.is_in(states, value_set=ended).to_numpy()
    numbers = np.arange(candidates)
    drawn = np.where(has_outcome.reshape(-1, candidates), numbers, 0)
    newest = drawn.max(axis=1, keepdims=True)
    return np.asarray(numbers == newest).ravel()


def as_dataset(rows: pa.Table) -> pq.ParquetFile:
    """Return rows as a dataset's file in memory, for what reads datasets."""
    written = pa.BufferOutputStream()
    pq.write_table(rows, written, compression="none")
    return pq.ParquetFile(pa.BufferReader(written.getvalue()))
