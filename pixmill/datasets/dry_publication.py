"""A dry publication: some rows of a table go through all that is made of them after paying.

Before anything is paid, dataset, invalid rows, report and every export are written to a
temporary folder by the code that writes them later. What fails there would fail after each run,
with the images paid for and never published.
"""

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pixmill.datasets.candidate_columns import check_candidate_condition
from pixmill.datasets.dataset_files import DATASET, INVALID
from pixmill.datasets.export.formats import FOLDER_WRITERS, TABLE_WRITERS
from pixmill.datasets.export.samples import ExportSample, ImageData, Samples
from pixmill.datasets.export.selection import Picked, select
from pixmill.datasets.export.tables import write_table
from pixmill.datasets.gate import check_gate, check_gate_columns
from pixmill.datasets.invalid_rows import PreviouslyInvalid
from pixmill.datasets.loading import is_damage
from pixmill.datasets.page_preserving_writer import content_digest
from pixmill.datasets.report import page_text
from pixmill.datasets.report.thumbnails import Thumbnails
from pixmill.datasets.result_table import ResultTable
from pixmill.datasets.row_files import Files, read_back, write_rows
from pixmill.datasets.score_columns import empty_score_columns
from pixmill.errors import ConfigError, StoreError, TableError
from pixmill.ledger.queries import no_outcomes
from pixmill.planning.jobs import JobBatch
from pixmill.planning.plan import Plan
from pixmill.planning.row_checks import RowProblem
from pixmill.storage import FolderStore

log = logging.getLogger(__name__)

SAMPLE_ROWS = 32
"""How many of the first rows are published: types of columns fail at once, or never."""

SAMPLE_JOBS = 512
"""The most jobs that these may make; fewer rows are taken where each makes many."""

_DRY = RowProblem("dry", None, "")
_NO_IMAGE = ImageData(b"", "0" * 64, ".jpg")


def publish_dry(plan: Plan) -> None:
    """Publish the first rows of a plan's table that have a job into a temporary folder.

    Each is there as a job and as an invalid row. Raises TableError with the columns that can't
    be published, and ConfigError for a condition of `quality.gate` that can't be calculated for
    these. A machine without room for a temporary folder says nothing about the table:
    there it is left out, with a warning.
    """
    check_gate_columns(plan)
    check_candidate_condition(plan.config, empty_score_columns(plan.config))
    rows = max(1, min(SAMPLE_ROWS, SAMPLE_JOBS // len(plan.expander.variants)))
    if not plan.first.any():
        return
    # `input.where` may select none of the rows before it.
    row = int(np.argmax(plan.first)) // len(plan.expander.variants)
    batches = plan.table.batches(rows)
    first = next(
        each for each in batches if row < each.first_row - 1 + each.rows.num_rows
    )
    jobs = plan.expander.expand(first)
    try:
        with TemporaryDirectory(prefix="pixmill-dry-") as folder:
            failure = _try_to_publish(plan, jobs, Path(folder))
            if isinstance(failure, ConfigError):
                raise failure
            if failure is None:
                return
            raise _table_error(plan, jobs, failure, Path(folder)) from failure
    except OSError as error:
        log.warning("the dry publication is left out: %s", error)


def _try_to_publish(plan: Plan, jobs: JobBatch, folder: Path) -> Exception | None:
    """Publish `jobs` below `folder` and return what went wrong.

    Raises OSError for what has nothing to do with the table, such as a full disk.
    """
    try:
        _publish(plan, jobs, Path(mkdtemp(dir=folder)))
    except StoreError:
        raise
    except OSError as error:
        if is_damage(error):
            return error
        raise
    except Exception as error:
        # Whatever the table's values meet in three libraries.
        return error
    return None


def _publish(plan: Plan, jobs: JobBatch, folder: Path) -> None:
    """Write all that a run writes for `jobs`, and all that is made of that later."""
    schema = jobs.rows.rows.schema
    config = plan.config.model_copy(update={"store": str(folder)})
    count = len(jobs.keys)
    no_inputs = pa.nulls(count, pa.string())
    nothing = no_outcomes(count).append_column("input_image", no_inputs)
    rows = range(jobs.rows.rows.num_rows)
    # Once more with a problem in each row: that is how invalid.parquet meets all columns.
    invalid = jobs._replace(problems={at: jobs.problems.get(at, _DRY) for at in rows})
    scores = empty_score_columns(config)
    results = ResultTable(config, plan.expander, schema, run_id="", scores=scores)
    files = Files(folder / DATASET, folder / INVALID, predecessor=folder / "none")
    written, _ = write_rows(
        results,
        [(jobs, [nothing]), (invalid, [nothing])],
        np.ones(2 * count, np.bool_),
        files,
        PreviouslyInvalid(files.predecessor),
    )
    read_back(files.dataset, written, results.schema)
    content_digest(files.dataset)
    gate = check_gate(config, files.dataset, None, None)
    for result in gate.results if gate else ():
        if result.problem:
            raise ConfigError(f"quality.gate: {result.condition!r}: {result.problem}")
    with pq.ParquetFile(files.dataset, page_checksum_verification=True) as dataset:
        thumbnails = _NoThumbnails(FolderStore(folder))
        for _ in page_text(config, dataset, thumbnails, folder):
            # Written nowhere: what could fail is making it.
            pass
        selection = select(dataset.schema_arrow, None, (), None)
        for kind, write in TABLE_WRITERS.items():
            write_table(dataset, selection, folder / f"exported.{kind}", write)
        for kind, write_folder in FOLDER_WRITERS.items():
            write_folder(_DrySamples(dataset, selection, config), folder / kind)


class _NoThumbnails(Thumbnails):
    """Makes none: local input images stay unread."""

    def make(
        self, images: Iterable[tuple[Path | str, str]]
    ) -> dict[tuple[Path | str, str], bool]:
        """Say of each that there is none."""
        return dict.fromkeys(images, False)


class _DrySamples(Samples):
    """Every job as a sample with an empty image: there are none yet."""

    def read_samples(self, picked: Picked) -> Iterator[ExportSample]:
        """Yield every job."""
        for at, position in enumerate(picked.positions.tolist()):
            split = picked.splits[at]
            self._splits[split] += 1
            yield ExportSample(
                at=at,
                position=position,
                number=0,
                split=split,
                job_key="",
                row_key="",
                point_id=None,
                seed=None,
                caption="",
                image=_NO_IMAGE,
                input=_NO_IMAGE,
            )


def _table_error(
    plan: Plan,
    jobs: JobBatch,
    failure: Exception,
    folder: Path,
) -> TableError:
    """Find the columns that can't be published even where all others are missing."""
    bad = []
    for field in jobs.rows.rows.schema:
        # Alone: every other column is empty text.
        rows = jobs.rows.rows
        nothing = pa.nulls(len(rows), pa.string())
        columns = [
            rows[each] if each == field.name else nothing for each in rows.schema.names
        ]
        table = pa.table(columns, rows.schema.names)
        alone = jobs._replace(rows=jobs.rows._replace(rows=table))
        if _try_to_publish(plan, alone, folder):
            bad.append(f"{field.name!r} ({field.type})")
    which = f"column {', '.join(bad)}" if bad else "it"
    # Libraries print whole values of the table into their messages.
    reason = str(failure).partition("\n")[0][:200] or type(failure).__name__
    return TableError(
        f"{plan.config.input.path}: {which} can't be published: {reason}",
        hint="leave such columns out of the table, or write them as text; "
        "nothing was paid",
    )
