"""The jobs of a run that is under way, a page of them at a time, from table and ledger.

The dataset is published when a run has ended. Until then its rows are made here as a publication
makes them, but only those that somebody looks at: a page costs as much in a table of a million rows
as in one of a thousand, but for the rows before it, which are read and passed over.
"""

import threading
from collections import OrderedDict
from decimal import Decimal
from itertools import islice
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pixmill.config.model import Config
from pixmill.datasets.schema import ResultTable, own_columns
from pixmill.datasets.score_columns import empty_score_columns
from pixmill.ledger import Ledger, queries
from pixmill.planning.job_expander import JobExpander
from pixmill.planning.jobs import JobBatch
from pixmill.tables import open_table

_KEPT_PAGES = 4
"""Pages whose jobs are kept: whoever turns back and forth does not wait for the table."""


class LiveJobs:
    """Reads the jobs of a config page by page; a page has `page_jobs` of them at most."""

    def __init__(self, config: Config, page_jobs: int) -> None:
        source = config.input
        self._config = config
        self._table = open_table(
            source.path, encoding=source.encoding, delimiter=source.delimiter
        )
        self._expander = JobExpander(config, self._table)
        # A row with more jobs than fit on a page is on a page of its own.
        self._rows = max(1, page_jobs // len(self._expander.variants))
        self._pages: OrderedDict[int, JobBatch | None] = OrderedDict()
        self._unfinished: set[int] = set()
        """Pages on which a picture is still to be fetched, when they were read last."""
        self._lock = threading.Lock()

    @property
    def page_jobs(self) -> int:
        """Jobs of a full page."""
        return self._rows * len(self._expander.variants)

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
        jobs = self._jobs_of(number)
        if jobs is None:
            return results.schema.empty_table()
        inputs = pa.nulls(len(jobs.keys), pa.string())
        if self._config.input.images != "url":
            kept = ledger.kept_inputs(jobs.images.sources[0])
            rows = np.arange(len(jobs.keys)) // len(jobs.variants)
            inputs = pa.array(kept, pa.string()).take(rows)
        # Of jobs with one key only the first has the cost in a dataset: here each shows it.
        is_first = np.ones(len(jobs.keys), np.bool_)
        parts = []
        start = 0
        for known in ledger.outcomes(jobs.keys):
            both = known.append_column(
                "input_image", inputs.slice(start, known.num_rows)
            )
            parts.append(results.rows(jobs, is_first, both, start))
            start += known.num_rows
        rows = pa.concat_tables(parts)
        if self._has_pictures_to_come(rows):
            self._unfinished.add(number)
        else:
            self._unfinished.discard(number)
        return rows

    def has_changed(
        self, number: int, ledger: Ledger, run_id: str, last_attempt: int
    ) -> bool:
        """Whether a page may be another than when the call `last_attempt` was the newest one.

        To make a page takes forty milliseconds of a processor, which a run that answers a thousand
        calls a second on other pages would have to do without.
        """
        if not last_attempt or number in self._unfinished:
            return True
        jobs = self._jobs_of(number)
        called = ledger.read(queries.jobs_called_after, run_id, last_attempt)
        return jobs is not None and not set(called).isdisjoint(jobs.all_keys)

    def _has_pictures_to_come(self, rows: pa.Table) -> bool:
        """Whether a job is paid for whose picture is on its way, of which no call will tell."""
        if self._config.output.images == "url":
            return False
        ours = own_columns(rows.schema)
        is_paid = pc.equal(rows[ours["status"]], "succeeded")
        lacks_file = pc.is_null(rows[ours["file_name"]])
        return bool(pc.any(pc.and_(is_paid, lacks_file)).as_py())

    def _jobs_of(self, number: int) -> JobBatch | None:
        """Return the jobs of a page; None behind the last one."""
        with self._lock:
            if number in self._pages:
                self._pages.move_to_end(number)
                return self._pages[number]
            batches = self._table.batches(self._rows)
            batch = next(islice(batches, number - 1, None), None)
            jobs = None if batch is None else self._expander.expand(batch)
            self._pages[number] = jobs
            if len(self._pages) > _KEPT_PAGES:
                self._pages.popitem(last=False)
            return jobs


def as_dataset(rows: pa.Table) -> pq.ParquetFile:
    """Return rows as a dataset's file in memory, for what reads datasets."""
    written = pa.BufferOutputStream()
    pq.write_table(rows, written, compression="none")
    return pq.ParquetFile(pa.BufferReader(written.getvalue()))


class RunProgress(NamedTuple):
    """How far a run is."""

    last_attempt: int = 0
    """The ledger's id of the newest call that is counted."""

    calls: int = 0

    succeeded: int = 0

    refused: int = 0

    failed: int = 0

    in_doubt: int = 0

    cost: Decimal = Decimal(0)
    """What is known to be charged."""

    def read_on(self, ledger: Ledger, run_id: str) -> "RunProgress":
        """Return the progress with the calls that have ended since."""
        # Only those: the calls of a long run are many, and this is asked every second.
        new = ledger.read(queries.calls_after, run_id, self.last_attempt)
        counts = {name: getattr(self, name) for name in _VERDICTS}
        for verdict, calls in new.verdicts.items():
            if verdict in counts:
                counts[verdict] += calls
        return RunProgress(
            last_attempt=max(self.last_attempt, new.last),
            calls=self.calls + sum(new.verdicts.values()),
            cost=self.cost + new.cost,
            **counts,
        )


_VERDICTS = ("succeeded", "refused", "failed", "in_doubt")
