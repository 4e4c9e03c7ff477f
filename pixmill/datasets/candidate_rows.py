"""The candidates of a dataset: two columns of it, and `candidates.parquet` beside it, which lists all
that were drawn.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pixmill.datasets.page_preserving_writer import OPTIONS
from pixmill.datasets.result_table import ResultTable
from pixmill.planning.candidates import Judgement
from pixmill.planning.jobs import JobBatch
from pixmill.planning.plan import Plan
from pixmill.quality.score_columns import ScoreColumns

REASONS: Mapping[Judgement, str] = {
    Judgement.NOT_GOOD: "does not meet quality.until.where",
    Judgement.REJECTED: "rejected by a person",
    Judgement.NO_PICTURE: "brought no picture",
    Judgement.TURNED_AWAY: "turned away, as another candidate would be",
    Judgement.UNDECIDED: "not judged yet",
}
"""Why a candidate is not accepted."""

_COPIED = (
    "row_number",
    "row_key",
    "point_id",
    "candidate",
    "seed",
    "job_key",
    "status",
    "error_code",
    "file_name",
)


class CandidateRows:
    """Makes the rows of `candidates.parquet`, batch by batch."""

    def __init__(self, plan: Plan, run_id: str, scores: ScoreColumns) -> None:
        # A table of its own: what it counts is not in the dataset.
        self._results = ResultTable(
            plan.config, plan.expander, plan.table.schema, run_id, scores
        )
        named = self._results.our_names
        self._columns = {
            name: named[name]
            for name in (*_COPIED, *(name for name, _ in scores.fields), "accepted")
        }
        fields = [
            pa.field(name, self._results.schema.field(actual).type)
            for name, actual in self._columns.items()
        ]
        kept = pa.field("kept", pa.bool_())
        self.schema = pa.schema([*fields, kept, pa.field("reason", pa.string())])

    def rows(
        self, jobs: JobBatch, first: NDArray[np.bool_], outcomes: pa.Table, start: int
    ) -> pa.Table:
        """Return the candidates that have an outcome among the jobs at the positions from `start` on,
        one for each row of `outcomes`; see `ResultTable.rows`."""
        if jobs.judgements is None:
            return self.schema.empty_table()
        drawn = jobs.judgements != Judgement.NONE
        found = self._results.rows(
            jobs._replace(in_dataset=drawn), first, outcomes, start
        )
        at = start + np.flatnonzero(drawn[start : start + outcomes.num_rows])
        columns = [found[actual] for actual in self._columns.values()]
        columns.append(pa.chunked_array([pa.array(jobs.in_dataset[at])]))
        reasons = [
            REASONS.get(Judgement(judgement))
            for judgement in jobs.judgements[at].tolist()
        ]
        columns.append(pa.chunked_array([pa.array(reasons, pa.string())]))
        return pa.Table.from_arrays(columns, schema=self.schema)


class CandidateFile:
    """Writes `candidates.parquet`; without `quality.until` there is none."""

    def __init__(self, rows: CandidateRows, file: pq.ParquetWriter) -> None:
        self._rows = rows
        self._file = file

    def write(
        self, jobs: JobBatch, first: NDArray[np.bool_], outcomes: pa.Table, start: int
    ) -> None:
        """Add the candidates of a part of a batch; see `CandidateRows.rows`."""
        table = self._rows.rows(jobs, first, outcomes, start)
        if table.num_rows:
            self._file.write_table(table)


@contextmanager
def open_candidate_file(
    path: Path | None, rows: CandidateRows | None
) -> Iterator[Sequence[CandidateFile]]:
    """Yield what writes candidates to `path`, nothing where there are none to list."""
    if path is None or rows is None:
        yield ()
        return
    with pq.ParquetWriter(path, rows.schema, **OPTIONS) as file:
        yield (CandidateFile(rows, file),)
