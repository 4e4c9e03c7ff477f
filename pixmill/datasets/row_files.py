"""The files of rows that a publication writes aside: the dataset, its invalid rows and its candidates."""

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pixmill.datasets.candidate_rows import CandidateRows, open_candidate_file
from pixmill.datasets.dataset_files import CANDIDATES, DATASET, INVALID
from pixmill.datasets.invalid_rows import (
    INVALID_SCHEMA,
    PreviouslyInvalid,
    invalid_rows,
)
from pixmill.datasets.page_preserving_writer import OPTIONS, PagePreservingWriter
from pixmill.datasets.result_table import ResultTable
from pixmill.errors import PixmillError
from pixmill.planning.jobs import JobBatch
from pixmill.planning.plan import Plan
from pixmill.storage.atomic_write import atomic_write


class Files(NamedTuple):
    """The files that a publication writes rows to, and the dataset whose pages the new one
    keeps."""

    dataset: Path
    invalid: Path
    predecessor: Path
    candidates: Path | None = None
    """Where all candidates are listed, `None` without `quality.until`."""

    def discard(self) -> None:
        """Remove what was written: what is published stays as it is."""
        for path in (self.dataset, self.invalid, self.candidates):
            if path:
                path.unlink()


@contextmanager
def open_files(plan: Plan) -> Iterator[Files]:
    """Yield the files of a publication, which are put in place together at the end."""
    folder = plan.config.dataset_folder
    with (
        atomic_write(folder / DATASET) as dataset,
        atomic_write(folder / INVALID) as invalid,
        atomic_write(folder / CANDIDATES) as candidates,
    ):
        files = Files(dataset, invalid, folder / DATASET)
        yield files._replace(candidates=candidates) if plan.candidates else files


def write_rows(
    results: ResultTable,
    batches: Iterable[tuple[JobBatch, Iterable[pa.Table]]],
    firsts: NDArray[np.bool_],
    files: Files,
    previously_invalid: PreviouslyInvalid,
    candidates: CandidateRows | None = None,
) -> tuple[int, int]:
    """Write the files batch by batch; return the number of rows and of invalid ones that are new.

    Each batch comes with the outcomes at its positions, in parts; `firsts` marks the first position
    of each job key.
    """
    rows = 0
    new_invalid = 0
    with (
        PagePreservingWriter(
            files.dataset, results.schema, files.predecessor
        ) as dataset_file,
        pq.ParquetWriter(files.invalid, INVALID_SCHEMA, **OPTIONS) as invalid_file,
        open_candidate_file(files.candidates, candidates) as listed,
        # Encoding a batch needs no interpreter: the next one is read meanwhile.
        ThreadPoolExecutor(1) as beside,
    ):
        written: Future[None] | None = None
        position = 0
        for jobs, parts in batches:
            first = firsts[position : position + len(jobs.keys)]
            position += len(jobs.keys)
            start = 0
            for outcomes in parts:
                for file in listed:
                    file.write(jobs, first, outcomes, start)
                table = results.rows(jobs, first, outcomes, start)
                start += outcomes.num_rows
                rows += table.num_rows
                if written:
                    written.result()
                written = beside.submit(dataset_file.write, table)
            found = invalid_rows(jobs)
            if found:
                invalid_file.write_table(pa.Table.from_pylist(found, INVALID_SCHEMA))
                new_invalid += previously_invalid.count_new(found)
        if written:
            written.result()
    return rows, new_invalid


def read_back(path: Path, rows: int, schema: pa.Schema) -> None:
    """Read every page of a dataset that was written. Raises PixmillError where it holds anything
    else."""
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        groups = range(file.metadata.num_row_groups)
        read = sum(file.read_row_group(group).num_rows for group in groups)
        if read != rows or not file.schema_arrow.equals(schema):
            raise PixmillError(
                f"{path} contains {read:,} rows instead of {rows:,}; the old dataset stays"
            )
